//! The ports, one file a trait: writes are asked of the writer, reads see what is committed.

mod dead_letters;
mod events;
mod expiry;
mod jobs;
mod journal;
mod listing;
mod tenants;

#[cfg(test)]
mod tests;
