//! Row 27 of the promises: what was ever found is tried again, with changes, and a planted fault
//! is found by the same means. `PROVE_LONG=1` makes more changes.

use std::panic::{self, AssertUnwindSafe};

use posthaste_fuzz_targets::control::CONTROLS;
use posthaste_fuzz_targets::{TARGETS, Target, corpus, target};

/// Changes of each input.
const CHANGES: u64 = 8;
const CHANGES_LONG: u64 = 2_000;
/// No input grows beyond this.
const BYTES_MAX: usize = 4096;

fn changes() -> u64 {
    let is_long = std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1");
    if is_long { CHANGES_LONG } else { CHANGES }
}

/// Runs a target with its corpus and with changes of it; gives how many inputs there were, or the
/// one that it fell over.
fn replay(target: Target, inputs: &[Vec<u8>], changes: u64) -> Result<u64, Vec<u8>> {
    let mut chance = Chance(0x5EED);
    let mut tried = 0;
    for input in inputs {
        for change in 0..=changes {
            let input = match change {
                0 => input.clone(),
                _ => changed(input, inputs, &mut chance),
            };
            let run = AssertUnwindSafe(|| (target.run)(&input));
            if panic::catch_unwind(run).is_err() {
                return Err(input);
            }
            tried += 1;
        }
    }
    Ok(tried)
}

/// One to three small changes, or a splice with another input.
fn changed(input: &[u8], others: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..=chance.below(3) {
        let place = chance.below(input.len() + 1);
        let byte = chance.below(256).to_le_bytes()[0];
        match chance.below(6) {
            0 => input.insert(place, byte),
            1 if place < input.len() => input[place] = byte,
            2 if place < input.len() => input[place] ^= 1 << chance.below(8),
            3 if place < input.len() => drop(input.remove(place)),
            4 => input.truncate(place),
            _ => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len() + 1);
                input.truncate(place);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(BYTES_MAX);
    input
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).expect("below a usize")
    }
}

macro_rules! replays {
    ($($test:ident $name:ident),+ $(,)?) => {
        const REPLAYED: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $test() {
                let target = target(stringify!($name)).unwrap();
                let inputs = corpus::of(target.name).unwrap();
                match replay(target, &inputs, changes()) {
                    Ok(tried) => println!(
                        "proof: 27 tried {tried} held {tried} control planted faults are found \
                         by the same replay ({})",
                        target.name,
                    ),
                    Err(input) => panic!("{}: {}", target.name, corpus::line(&input)),
                }
            }
        )+
    };
}

replays! {
    replay_target_url target_url,
    replay_address address,
    replay_ids ids,
    replay_api_key api_key,
    replay_secret secret,
    replay_timestamp timestamp,
    replay_signature signature,
    replay_custom_headers custom_headers,
    replay_retry_options retry_options,
    replay_retry_after retry_after,
    replay_response response,
    replay_ingest ingest,
    replay_batch batch,
    replay_tenant_body tenant_body,
    replay_query query,
    replay_request request,
    replay_receiver receiver,
    replay_authorizer authorizer,
    replay_gateway_event gateway_event,
    replay_config_file config_file,
    replay_config_settings config_settings,
    replay_command_line command_line,
    replay_ledger_record ledger_record,
    replay_ledger_key ledger_key,
    replay_journal journal,
    replay_witness witness,
    replay_register register,
    replay_message message,
    replay_event_item event_item,
    replay_tenant_item tenant_item,
}

/// No target without a replay, no corpus without a target, none that is empty.
#[test]
fn every_target_has_its_corpus() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    for name in &names {
        let inputs = corpus::of(name).unwrap();
        assert!(inputs.len() >= 10, "{name} has {} inputs", inputs.len());
    }
    for entry in std::fs::read_dir(corpus::directory()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(names.contains(&stem.as_str()), "{} is of no target", path.display());
    }
}

/// The control: with a fault in what a target tries, its corpus falls over.
#[test]
fn a_planted_fault_is_found() {
    for (corpus_of, control) in CONTROLS {
        let inputs = corpus::of(corpus_of).unwrap();
        assert!(replay(*control, &inputs, CHANGES).is_err(), "{} is not found", control.name);
        println!("proof: 27 tried 1 held 1 control {} was found", control.name);
    }
}
