//! The errors of SQS, as it words them.

use crate::aws_sim::refusal::Refusal;

pub(super) fn no_such_queue() -> Refusal {
    Refusal::new("QueueDoesNotExist", "The specified queue does not exist.")
        .with_query_code("AWS.SimpleQueueService.NonExistentQueue")
}

pub(super) fn queue_exists(attribute: &str) -> Refusal {
    let message = format!(
        "A queue already exists with the same name and a different value for attribute {attribute}"
    );
    Refusal::new("QueueNameExists", message).with_query_code("QueueAlreadyExists")
}

pub(super) fn unsupported(what: &'static str) -> Refusal {
    Refusal::new("UnsupportedOperation", what)
        .with_query_code("AWS.SimpleQueueService.UnsupportedOperation")
}

pub(super) fn unknown_attribute(name: &str) -> Refusal {
    Refusal::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
        .with_query_code("InvalidAttributeName")
}

pub(super) fn bad_attribute(name: &str) -> Refusal {
    let message = format!("Invalid value for the parameter {name}.");
    Refusal::new("InvalidAttributeValue", message).with_query_code("InvalidAttributeValue")
}

pub(super) fn bad_parameter(message: String) -> Refusal {
    Refusal::new("InvalidParameterValueException", message).with_query_code("InvalidParameterValue")
}

pub(super) fn out_of_range(name: &str, value: i64, reason: &str) -> Refusal {
    bad_parameter(format!("Value {value} for parameter {name} is invalid. Reason: {reason}"))
}

pub(super) fn missing(name: &str) -> Refusal {
    let message = format!("The request must contain the parameter {name}.");
    Refusal::new("MissingRequiredParameterException", message).with_query_code("MissingParameter")
}

pub(super) fn bad_contents() -> Refusal {
    const MESSAGE: &str = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD \
        | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Refusal::new("InvalidMessageContents", MESSAGE).with_query_code("InvalidMessageContents")
}

pub(super) fn bad_receipt(receipt: &str) -> Refusal {
    let message = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
    Refusal::new("ReceiptHandleIsInvalid", message).with_query_code("ReceiptHandleIsInvalid")
}

pub(super) fn gone(receipt: &str) -> Refusal {
    bad_parameter(format!(
        "Value {receipt} for parameter ReceiptHandle is invalid. Reason: Message does not exist \
         or is not available for visibility timeout change."
    ))
}

pub(super) fn not_in_flight() -> Refusal {
    Refusal::new("MessageNotInflight", "The message referred to is not in flight.")
        .with_query_code("AWS.SimpleQueueService.MessageNotInflight")
}

pub(super) fn over_limit() -> Refusal {
    const MESSAGE: &str = "The maximum number of in flight messages is 120000.";
    Refusal::new("OverLimit", MESSAGE).with_status(403).with_query_code("OverLimit")
}

pub(super) fn purging(name: &str) -> Refusal {
    let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
    Refusal::new("PurgeQueueInProgress", message)
        .with_status(403)
        .with_query_code("AWS.SimpleQueueService.PurgeQueueInProgress")
}

pub(super) fn empty_batch(entry: &str) -> Refusal {
    let message = format!("There should be at least one {entry} in the request.");
    Refusal::new("EmptyBatchRequest", message)
        .with_query_code("AWS.SimpleQueueService.EmptyBatchRequest")
}

pub(super) fn too_many_entries(count: usize) -> Refusal {
    let message = format!("Maximum number of entries per request are 10. You have sent {count}.");
    Refusal::new("TooManyEntriesInBatchRequest", message)
        .with_query_code("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
}

pub(super) fn bad_entry_id() -> Refusal {
    const MESSAGE: &str = "A batch entry id can only contain alphanumeric characters, hyphens and \
        underscores. It can be at most 80 letters long.";
    Refusal::new("InvalidBatchEntryId", MESSAGE)
        .with_query_code("AWS.SimpleQueueService.InvalidBatchEntryId")
}

pub(super) fn repeated_entry_id(id: &str) -> Refusal {
    Refusal::new("BatchEntryIdsNotDistinct", format!("Id {id} repeated."))
        .with_query_code("AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
}

pub(super) fn batch_too_long(bytes: u64) -> Refusal {
    let message =
        format!("Batch requests cannot be longer than 1048576 bytes. You have sent {bytes} bytes.");
    Refusal::new("BatchRequestTooLong", message)
        .with_query_code("AWS.SimpleQueueService.BatchRequestTooLong")
}
