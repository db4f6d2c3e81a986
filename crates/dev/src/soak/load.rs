//! The load: scenes at a fixed rate, and fewer if the machine would be too busy.

use std::{cell::Cell, rc::Rc, sync::Arc};

use fastrand::Rng;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Duration, Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    counts::Counts,
    scene::{Kind, ORDER, Scene},
    world::World,
};

/// So many scenes are active at once, at most. Those that only wait do not count.
const ACTIVE: usize = 12;

/// One in so many scenes has connections of its own.
const OWN_CONNECTIONS: usize = 3;

/// How long the last scenes may take.
const LAST_SCENES: Duration = Duration::from_secs(90);

/// Plays scenes until the terms have passed or the world stops.
pub async fn run(world: &Rc<World>, is_too_busy: &Cell<bool>, seed: u64) -> anyhow::Result<()> {
    let (mut scenes, slots) = (JoinSet::new(), Arc::new(Semaphore::new(ACTIVE)));
    let mut rng = Rng::with_seed(seed);
    let mut ticks = interval(world.terms.scene_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = Instant::now() + world.terms.lasts;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(played) = scenes.join_next() => {
                played??;
                continue;
            }
            () = world.stopping.cancelled() => break,
        }
        if Instant::now() >= end {
            break;
        }
        match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) if !(is_too_busy.get() && rng.bool()) => {
                scenes.spawn_local(play(Rc::clone(world), world.counts.scenes.get() as usize, rng.fork(), slot));
                Counts::add(&world.counts.scenes);
            }
            _ => Counts::add(&world.counts.left_out),
        }
    }
    world.stopping.cancel();
    let wait_for_end = async {
        while let Some(played) = scenes.join_next().await {
            played??;
        }
        Ok(())
    };
    timeout(LAST_SCENES, wait_for_end).await?
}

/// Plays the scene with this number: every kind, over both transports, on shared and on own connections.
async fn play(world: Rc<World>, number: usize, mut rng: Rng, slot: OwnedSemaphorePermit) -> anyhow::Result<()> {
    let kind = ORDER[number % ORDER.len()];
    let is_rest = (number % ORDER.len() + number / ORDER.len()).is_multiple_of(2);
    let has_own_connections = number.is_multiple_of(OWN_CONNECTIONS);
    let tenant = world.any_tenant(&mut rng);
    let user = &tenant.users[rng.usize(..tenant.users.len())];
    let who = (tenant.id, user.id.as_str());
    if is_rest && kind != Kind::Strangers {
        let calls = world.rest(&user.token, has_own_connections, &mut rng)?;
        Scene::new(&world, calls, who, rng, slot).play(kind).await
    } else {
        let calls = world.grpc(&user.token, has_own_connections, &mut rng)?;
        Scene::new(&world, calls, who, rng, slot).play(kind).await
    }
}
