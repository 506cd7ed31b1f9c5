//! What a fleet can reach, by name.

/// Everything that is counted, in groups.
pub(super) const GROUPS: [(&str, &[&str]); 9] = [
    ("decisions of the protocol", &DECISIONS),
    ("writes that a row takes, and what they make of it", &ROWS),
    ("changes of a job on a disk", &JOBS),
    ("what the engine was told", &INPUTS),
    ("what the engine ordered", &EFFECTS),
    ("how outcomes were settled", &SETTLEMENTS),
    ("an endpoint's health, and how it changed", &HEALTH),
    ("what endpoints answered", &ANSWERS),
    ("what people did", &PEOPLE),
];

const DECISIONS: [&str; 39] = [
    "on_receive deliver",
    "on_receive read_row",
    "on_receive delete",
    "on_receive leave",
    "on_receive renew",
    "after_read deliver",
    "after_read claim",
    "after_read delete",
    "after_read stray",
    "after_read leave",
    "settled final",
    "settled wait",
    "settled die",
    "settled dropped overtaken",
    "settled dropped not_ours",
    "settled dropped gone",
    "settled dropped unexplained",
    "taken attempt",
    "taken die",
    "taken dropped overtaken",
    "taken dropped not_ours",
    "taken dropped gone",
    "taken dropped unexplained",
    "dead final",
    "dead dropped overtaken",
    "dead dropped not_ours",
    "dead dropped gone",
    "dead dropped unexplained",
    "permission granted",
    "permission later",
    "permission withdrawn",
    "permit renewed lease",
    "at_start replay",
    "at_start schedule",
    "at_start forget",
    "at_start keep",
    "requeue send",
    "requeue delete_message",
    "requeue leave_message",
];

const ROWS: [&str; 23] = [
    "row deliver: PENDING to DELIVERED",
    "row deliver: FAILED to DELIVERED",
    "row deliver: refused",
    "row fail: first failure",
    "row fail: later failure",
    "row fail: last failure",
    "row fail: without an attempt",
    "row fail: refused",
    "row claim: of nobody's",
    "row claim: of another's",
    "row claim: of one's own",
    "row claim: of a dying one",
    "row claim: refused",
    "row extend: given away",
    "row extend: refused",
    "row die: FAILED to DLQ",
    "row die: refused",
    "row requeue: DLQ to PENDING",
    "row requeue: FAILED to PENDING",
    "row requeue: refused",
    "row purge: DLQ to PURGED",
    "row purge: refused",
    "row put again",
];

const JOBS: [&str; 17] = [
    "job none to unwritten",
    "job none to waiting",
    "job none to dying",
    "job none to cut off",
    "job unwritten to waiting",
    "job unwritten to dying",
    "job unwritten to none",
    "job waiting to unwritten",
    "job waiting to waiting",
    "job waiting to dying",
    "job waiting to none",
    "job dying to waiting",
    // A poisonous message that is shown again while its event is on its way to the DLQ: the same
    // end once more.
    "job dying to unwritten",
    "job dying to none",
    "job cut off to unwritten",
    "job cut off to waiting",
    "job cut off to dying",
];

/// A read of the backlog cannot fail here: it is a look into memory. The engine's own simulator has
/// that.
const INPUTS: [&str; 17] = [
    "input arrived",
    "input behind",
    "input backlog read",
    "input timers read",
    "input timers read failed",
    "input payload loaded",
    "input payload load failed",
    "input options read",
    "input options read failed",
    "input lift",
    "input attempted",
    "input withdrawn",
    "input tenant gone",
    "input settled",
    "input superseded",
    "input settle failed",
    "input drain",
];

const EFFECTS: [&str; 6] = [
    "effect read backlog",
    "effect read timers",
    "effect read options",
    "effect load payload",
    "effect attempt",
    "effect settle",
];

const SETTLEMENTS: [&str; 6] = [
    "settle delivered",
    "settle retry",
    "settle dead: attempts exhausted",
    "settle dead: gone",
    "settle dead: poison",
    "settle dead: tenant gone",
];

const HEALTH: [&str; 17] = [
    "health tripped",
    "health probing",
    "health ramp",
    "health given up",
    "health paused",
    "health well to tripped",
    "health well to ramp",
    "health tripped to probing",
    "health tripped to ramp",
    "health probing to ramp",
    "health probing to tripped",
    "health probing to given up",
    "health ramp to well",
    "health ramp to tripped",
    "health given up to ramp",
    "health to paused",
    "health from paused",
];

const ANSWERS: [&str; 14] = [
    "answer 2xx",
    "answer 2xx after 20 s and more",
    "answer 4xx",
    "answer 410",
    "answer 429",
    "answer 429, Retry-After 0",
    "answer 429, Retry-After",
    "answer 429, Retry-After beyond a lease",
    "answer 429, Retry-After of an hour",
    "answer 5xx",
    "answer none for 30 s",
    "answer lost",
    "answer none: refused",
    "answer none: our own fault",
];

const PEOPLE: [&str; 6] = [
    "people pause an endpoint",
    "people resume an endpoint",
    "people set a limit",
    "people lift an endpoint",
    "people delete a tenant",
    "people send what is no message",
];

/// What cannot be come to while the promises hold: a row does not vanish within a month, is never
/// open and in nobody's care, and is never behind its message, for reads are consistent, rounds
/// only go up, and a message is sent when its round is in the row.
pub(super) const NEVER: [&str; 7] = [
    "after_read leave",
    "settled dropped gone",
    "settled dropped unexplained",
    "taken dropped gone",
    "taken dropped unexplained",
    "dead dropped gone",
    "dead dropped unexplained",
];

/// What takes more than a hundred worlds, and how many it takes to expect it. Each has a plan of
/// its own that comes to it, in tests/it/rare.rs.
pub(super) const RARE: [(&str, u64); 14] = [
    ("job cut off to dying", 5_000),
    ("job waiting to dying", 100_000),
    ("job dying to waiting", 100_000),
    ("job dying to unwritten", 100_000),
    ("requeue leave_message", 5_000),
    ("job cut off to waiting", 5_000),
    ("dead dropped not_ours", 5_000),
    ("dead dropped overtaken", 2_000),
    ("input payload load failed", 5_000),
    ("input timers read failed", 5_000),
    ("row extend: refused", 5_000),
    ("health tripped to ramp", 2_000),
    ("health well to ramp", 100_000),
    ("health given up to ramp", 2_000),
];
