//! Row writes as `UpdateItem`: a request a row, a few at a time.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use futures_util::stream::{self, StreamExt};
use posthaste_domain::RowWrite;
use posthaste_ports::{PortError, Written};

use super::{DynamoRows, REQUESTS_AT_ONCE_MAX};
use crate::item::{self, Edit, Rendered};

impl DynamoRows {
    pub(super) async fn write_updates(
        &self,
        writes: Vec<RowWrite>,
    ) -> Vec<Result<Written, PortError>> {
        let requests: Vec<_> = writes.iter().map(|write| self.update(write)).collect();
        stream::iter(requests).buffered(REQUESTS_AT_ONCE_MAX).collect().await
    }

    async fn update(&self, write: &RowWrite) -> Result<Written, PortError> {
        let call = self.call("dynamodb:UpdateItem");
        let Rendered { update, condition, names, values } = item::update(Edit::of(write));
        let request = self.client.table().update_item().table_name(self.table.name());
        let answer = request
            .set_key(Some(item::row_key(&write.key)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(Written::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    self.refused(call, refused.item().cloned())
                }
                _ => Err(call.failed(&error).into()),
            },
        }
    }
}
