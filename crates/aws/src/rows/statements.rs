//! Row writes as `BatchExecuteStatement`: 25 statements a request, each by itself, each with an
//! answer of its own and with the old item where its condition does not hold.

use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum as Code, BatchStatementRequest, BatchStatementResponse,
    ReturnValuesOnConditionCheckFailure,
};
use futures_util::stream::{self, StreamExt};
use posthaste_domain::RowWrite;
use posthaste_ports::{PortError, Written};

use super::{DynamoRows, REQUESTS_AT_ONCE_MAX};
use crate::item::{self, Edit};

/// Statements in one request.
const STATEMENTS_MAX: usize = 25;

type Answers = Vec<Result<Written, PortError>>;

impl DynamoRows {
    pub(super) async fn write_statements(&self, writes: Vec<RowWrite>) -> Answers {
        let batches: Vec<_> =
            writes.chunks(STATEMENTS_MAX).map(|writes| self.execute(writes)).collect();
        let answers = stream::iter(batches).buffered(REQUESTS_AT_ONCE_MAX);
        answers.collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    async fn execute(&self, writes: &[RowWrite]) -> Answers {
        let call = self.call("dynamodb:PartiQLUpdate");
        let statements = writes.iter().map(|write| {
            let (statement, values) =
                item::statement(self.table.name(), &write.key, Edit::of(write));
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
            Err(error) => {
                let error = PortError::from(call.failed(&error));
                return vec![Err(error); writes.len()];
            }
        };
        if responses.len() != writes.len() {
            let line = format!("{} answers to {} statements", responses.len(), writes.len());
            return vec![Err(call.unreadable(line).into()); writes.len()];
        }
        responses.into_iter().map(|response| self.written(response)).collect()
    }

    /// The answer to one statement.
    fn written(&self, response: BatchStatementResponse) -> Result<Written, PortError> {
        let call = self.call("dynamodb:PartiQLUpdate");
        let Some(error) = response.error else { return Ok(Written::Done) };
        match error.code {
            Some(Code::ConditionalCheckFailed) => self.refused(call, error.item),
            Some(code) => {
                let message = error.message.unwrap_or_default();
                Err(call.answered(code.as_str(), &message).into())
            }
            None => Err(call.unreadable("an error without a code").into()),
        }
    }
}
