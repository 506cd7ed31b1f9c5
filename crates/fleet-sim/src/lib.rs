//! A seeded fleet: several daemons, each with the real courier and the real engine, around a cloud
//! that lags, throttles, loses replies and fails.
//!
//! Same seed, same trace. Nothing here is real but the code under test: time is virtual, and no
//! thread, socket or disk is used.
