//! AWS mode: carries events from the queue to the engine, and outcomes into rows.
