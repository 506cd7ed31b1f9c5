//! The real binary under real traffic: started, posted to, supervised, killed, restarted, filled,
//! misused.

mod aws;
mod clients;
mod crash;
mod daily_use;
mod data_directory;
mod demo;
mod disk;
mod drain;
mod isolation;
mod keys;
mod ledger_tools;
mod options;
mod receivers;
mod retries;
mod service;
mod ssrf;
mod support;
