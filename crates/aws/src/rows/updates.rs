//! Row writes as `UpdateItem`: a request a row, a few at a time.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use futures_util::stream::{self, StreamExt};
use posthaste_domain::RowKey;

use super::{Answer, DynamoRows, Executed, REQUESTS_AT_ONCE_MAX};
use crate::item::{self, Edit, Rendered};

impl DynamoRows {
    pub(super) async fn execute_updates(&self, edits: Vec<(RowKey, Edit)>) -> Vec<Answer> {
        let requests = edits.into_iter().map(|(key, edit)| self.execute_update(key, edit));
        let requests: Vec<_> = requests.collect();
        stream::iter(requests).buffered(REQUESTS_AT_ONCE_MAX).collect().await
    }

    async fn execute_update(&self, key: RowKey, edit: Edit) -> Answer {
        let call = self.call("dynamodb:UpdateItem");
        let Rendered { update, condition, names, values } = item::update(edit);
        let request = self.client.table().update_item().table_name(self.table.name());
        let answer = request
            .set_key(Some(item::row_key(&key)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(Executed::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    let old = refused.item().filter(|item| !item.is_empty());
                    Ok(Executed::Refused(old.cloned()))
                }
                _ => Err(call.failed(&error).into()),
            },
        }
    }
}
