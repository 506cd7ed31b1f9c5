//! SQS and DynamoDB behind the ports.
