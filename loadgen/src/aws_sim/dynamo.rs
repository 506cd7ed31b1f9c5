//! DynamoDB: tables in memory, with expressions, indexes, transactions and `PartiQL`.
//!
//! What is not like AWS: the older parameters (`Expected`, `AttributeUpdates`, `KeyConditions`…),
//! local indexes and streams are refused; nothing expires by itself, though `UpdateTimeToLive` is
//! taken; throughput has no limit but the one that faults set.

mod action;
mod batch;
mod capacity;
mod describe;
mod expression;
mod key;
mod number;
mod search;
mod single;
mod statement;
mod table;
mod transact;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::expression::Expressions;
use self::statement::Statements;
use self::table::{Moment, Sight, Table};
use self::transact::Done;
use super::counters::Work;
use super::faults::Decision;
use super::operation::Operation;
use super::refusal::Refusal;
use super::state::{Context, Served};
use crate::clock::Nanos;

/// All tables.
#[derive(Debug)]
pub(super) struct Dynamo {
    tables: RwLock<BTreeMap<String, Arc<Mutex<Table>>>>,
    expressions: Expressions,
    statements: Statements,
    region: String,
    /// Transactions of the last minutes.
    done: Mutex<Done>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::unreadable(&error))
}

fn served(answer: &impl Serialize, work: Work) -> Served {
    Served { body: serde_json::to_vec(answer).unwrap_or_default(), work, failed: 0 }
}

/// `ExpressionAttributeNames`.
type Aliases = Option<HashMap<String, String>>;
/// `ExpressionAttributeValues`.
type Values = Option<HashMap<String, value::Value>>;

/// A call, as far as all of them need it.
#[derive(Clone, Copy, Debug)]
struct Call<'c> {
    context: &'c Context<'c>,
    operation: Operation,
    decision: &'c Decision,
    now: Nanos,
}

impl Call<'_> {
    const fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            index_delay: self.context.index_delay,
            keeps_versions: self.context.keeps_versions,
        }
    }

    fn sight(&self, consistent: bool) -> Sight {
        match self.decision.read_delay() {
            delay if delay > 0 && !consistent => Sight::Until(self.now.saturating_sub(delay)),
            _ => Sight::Consistent,
        }
    }
}

impl Dynamo {
    pub(super) fn new(region: String) -> Self {
        Self {
            tables: RwLock::default(),
            expressions: Expressions::new(),
            statements: Statements::new(),
            region,
            done: Mutex::default(),
        }
    }

    /// Forgets every table.
    pub(super) fn clear(&self) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn call(
        &self,
        context: &Context<'_>,
        operation: Operation,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        let call = Call { context, operation, decision, now: context.time.now() };
        match operation {
            Operation::GetItem => self.get_item(&call, body),
            Operation::PutItem => self.put_item(&call, body),
            Operation::UpdateItem => self.update_item(&call, body),
            Operation::DeleteItem => self.delete_item(&call, body),
            Operation::Query => self.query(&call, body),
            Operation::Scan => self.scan(&call, body),
            Operation::BatchGetItem => self.batch_get(&call, body),
            Operation::BatchWriteItem => self.batch_write(&call, body),
            Operation::TransactWriteItems => self.transact(&call, body),
            Operation::ExecuteStatement => self.execute(&call, body),
            Operation::BatchExecuteStatement => self.execute_batch(&call, body),
            Operation::CreateTable => self.create(&call, body),
            Operation::DeleteTable => self.remove(body),
            Operation::DescribeTable => self.describe(body),
            Operation::ListTables => self.list(body),
            Operation::UpdateTimeToLive => self.set_ttl(body),
            Operation::DescribeTimeToLive => self.ttl(body),
            _ => Err(Refusal::new("UnknownOperationException", "Not an operation of DynamoDB")),
        }
    }

    /// The table of a name or an ARN.
    fn find(&self, name: &str) -> Result<Arc<Mutex<Table>>, Refusal> {
        let name = bare(name);
        if !is_name(name) {
            return Err(Refusal::invalid(format!(
                "1 validation error detected: Value '{name}' at 'tableName' failed to satisfy \
                 constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
            )));
        }
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(name).cloned().ok_or_else(|| {
            Refusal::new("ResourceNotFoundException", "Requested resource not found")
        })
    }
}

/// The name in an ARN, or the name itself.
fn bare(name: &str) -> &str {
    name.split_once(":table/").map_or(name, |(_, name)| name)
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (3..=255).contains(&name.len()) && name.bytes().all(is_part)
}
