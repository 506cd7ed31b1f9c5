//! The real binary under real traffic: started, posted to, killed, restarted, filled, misused.

mod crash;
mod daily_use;
mod data_directory;
mod drain;
mod receivers;
mod retries;
mod support;
