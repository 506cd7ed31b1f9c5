//! The calls that the simulator knows. Anything else is an `UnknownOperationException`.

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Sqs,
    Dynamo,
}

impl Service {
    /// What `__type` of an error begins with.
    pub(super) const fn namespace(self) -> &'static str {
        match self {
            Self::Sqs => "com.amazonaws.sqs",
            Self::Dynamo => "com.amazonaws.dynamodb.v20120810",
        }
    }
}

macro_rules! operations {
    ($($name:ident)*) => {
        /// A call of one of the services.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation { $($name),* }

        impl Operation {
            /// All of them, by number.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name on the wire.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            fn of_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

operations! {
    ReceiveMessage DeleteMessage DeleteMessageBatch SendMessage SendMessageBatch
    ChangeMessageVisibility ChangeMessageVisibilityBatch
    CreateQueue DeleteQueue ListQueues GetQueueUrl GetQueueAttributes SetQueueAttributes PurgeQueue
    GetItem PutItem UpdateItem DeleteItem Query Scan
    BatchGetItem BatchWriteItem TransactWriteItems ExecuteStatement BatchExecuteStatement
    CreateTable DeleteTable DescribeTable ListTables UpdateTimeToLive DescribeTimeToLive
}

impl Operation {
    /// Reads `X-Amz-Target`.
    pub(super) fn of_target(target: &str) -> Option<Self> {
        let (prefix, name) = target.split_once('.')?;
        let operation = Self::of_name(name)?;
        let expected = match operation.service() {
            Service::Sqs => "AmazonSQS",
            Service::Dynamo => "DynamoDB_20120810",
        };
        (prefix == expected).then_some(operation)
    }

    pub(super) const fn service(self) -> Service {
        if (self as usize) < Self::GetItem as usize { Service::Sqs } else { Service::Dynamo }
    }

    /// Its place in [`Self::ALL`].
    pub(super) const fn number(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_service_and_operation() {
        for operation in Operation::ALL {
            let prefix = match operation.service() {
                Service::Sqs => "AmazonSQS",
                Service::Dynamo => "DynamoDB_20120810",
            };
            let target = format!("{prefix}.{}", operation.name());
            assert_eq!(Operation::of_target(&target), Some(*operation));
        }
        assert_eq!(Operation::of_target("AmazonSQS.GetItem"), None);
        assert_eq!(Operation::of_target("GetItem"), None);
        assert_eq!(Operation::PurgeQueue.service(), Service::Sqs);
        assert_eq!(Operation::GetItem.service(), Service::Dynamo);
    }
}
