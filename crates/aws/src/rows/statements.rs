//! Row writes as `BatchExecuteStatement`: 25 statements a request, each by itself, each with an
//! answer of its own and with the old item where its condition does not hold.

use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum as Code, BatchStatementRequest, BatchStatementResponse,
    ReturnValuesOnConditionCheckFailure,
};
use futures_util::stream::{self, StreamExt};
use posthaste_domain::RowKey;
use posthaste_ports::PortError;

use super::{Answer, DynamoRows, Executed, REQUESTS_AT_ONCE_MAX};
use crate::error::Call;
use crate::item::{self, Edit};

/// Statements in one request.
const STATEMENTS_MAX: usize = 25;

impl DynamoRows {
    pub(super) async fn execute_statements(&self, edits: Vec<(RowKey, Edit)>) -> Vec<Answer> {
        let mut edits = edits.into_iter().peekable();
        let mut batches = Vec::new();
        while edits.peek().is_some() {
            let batch = edits.by_ref().take(STATEMENTS_MAX).collect();
            batches.push(self.execute_batch(batch));
        }
        let answers = stream::iter(batches).buffered(REQUESTS_AT_ONCE_MAX);
        answers.collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    async fn execute_batch(&self, edits: Vec<(RowKey, Edit)>) -> Vec<Answer> {
        let call = self.call("dynamodb:PartiQLUpdate");
        let count = edits.len();
        let statements = edits.into_iter().map(|(key, edit)| {
            let (statement, values) = item::statement(self.table.name(), &key, edit);
            BatchStatementRequest::builder()
                .statement(statement)
                .set_parameters(Some(values))
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .build()
                .expect("the statement is set")
        });
        let request = self.client.table().batch_execute_statement();
        let answer = request.set_statements(Some(statements.collect())).send().await;
        let responses = match answer {
            Ok(answer) => answer.responses.unwrap_or_default(),
            Err(error) => return failed(count, &call.failed(&error).into()),
        };
        if responses.len() != count {
            let line = format!("{} answers to {count} statements", responses.len());
            return failed(count, &call.unreadable(line).into());
        }
        responses.into_iter().map(|response| executed(call, response)).collect()
    }
}

fn failed(count: usize, error: &PortError) -> Vec<Answer> {
    (0..count).map(|_| Err(error.clone())).collect()
}

/// The answer to one statement.
fn executed(call: Call<'_>, response: BatchStatementResponse) -> Answer {
    let Some(error) = response.error else { return Ok(Executed::Done) };
    match error.code {
        Some(Code::ConditionalCheckFailed) => {
            Ok(Executed::Refused(error.item.filter(|item| !item.is_empty())))
        }
        Some(code) => {
            let message = error.message.unwrap_or_default();
            Err(call.answered(code.as_str(), &message).into())
        }
        None => Err(call.unreadable("an error without a code").into()),
    }
}
