//! What tenants do to their endpoints while daemons are at work: pauses, limits, lifts. In calm
//! nobody is paused any more.

use std::sync::Arc;
use std::time::Duration;

use posthaste_engine::{Options, Rate};
use tokio::time::sleep;

use crate::plan::FaultKind;
use crate::trace::Who;
use crate::world::World;

/// Does what the plan asks for, each at its time, and takes it back when calm comes.
pub(crate) async fn change(world: Arc<World>) {
    let calm_ms = world.plan.calm_ms;
    let mut times: Vec<u64> = {
        let mut state = world.lock();
        (0..world.plan.clients.changes).map(|_| state.chance.within((0, calm_ms))).collect()
    };
    times.sort_unstable();
    for at in times {
        wait_until(&world, at).await;
        change_one(&world);
    }
    wait_until(&world, calm_ms).await;
    let tenants = world.plan.tenants.len();
    let mut state = world.lock();
    for at in 0..tenants {
        if std::mem::take(&mut state.options[at].paused) {
            state.coverage.saw("people resume an endpoint", 1);
        }
        // Half of them are told so; daemons find out about the others.
        if state.chance.permille(500) {
            state.news.push((at, false));
        }
    }
}

async fn wait_until(world: &World, at: u64) {
    let now = world.ms();
    if at > now {
        sleep(Duration::from_millis(at - now)).await;
    }
}

fn change_one(world: &World) {
    let ms = world.ms();
    let now = world.now();
    let mut guard = world.lock();
    let state = &mut *guard;
    let at = state.chance.index(world.plan.tenants.len());
    let rates = [None, Some(Rate::per_second(1)), Some(Rate::per_second(50))];
    let options: &mut Options = &mut state.options[at];
    let what = match state.chance.within((0, 6)) {
        0 | 1 => {
            options.paused = !options.paused;
            if options.paused { "people pause an endpoint" } else { "people resume an endpoint" }
        }
        2 | 3 => {
            options.lifted_at = now;
            "people lift an endpoint"
        }
        4 => {
            options.rate = state.chance.pick(&rates);
            "people set a limit"
        }
        5 => {
            options.in_flight_max = state.chance.pick(&[None, Some(1), Some(4)]);
            "people set a limit"
        }
        _ => {
            options.weight = state.chance.pick(&[1, 3, 100]);
            "people set a limit"
        }
    };
    state.coverage.saw(what, 1);
    state.coverage.hit(FaultKind::Changes);
    state.trace.note(ms, Who::Client, "changes options", (None, [at as u64, 0]));
    let is_lifted = what == "people lift an endpoint" && state.chance.permille(500);
    if is_lifted || state.chance.permille(700) {
        state.news.push((at, is_lifted));
    }
}
