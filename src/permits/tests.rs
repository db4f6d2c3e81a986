use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn tenant(number: usize) -> TenantId {
    TenantId(Uuid::from_u128(number as u128))
}

fn user(number: usize) -> Principal {
    Principal::User(number.to_string())
}

fn upload_url(number: usize) -> Holder {
    Holder::UploadUrl(SessionId(Uuid::from_u128(number as u128)))
}

fn permits(size: usize) -> Permits {
    Permits::new(Kind::Range, size, true)
}

/// Takes permits for a tenant until it is refused, for another user each time that one is.
fn take_all(permits: &Permits, of: usize) -> Vec<Permit> {
    let mut taken = Vec::new();
    let mut holder = 0;
    loop {
        match permits.take(tenant(of), Holder::Principal(user(holder))) {
            Ok(permit) => taken.push(permit),
            Err(Refused { limit: Limit::Caller, .. }) => holder += 1,
            Err(_) => return taken,
        }
    }
}

#[test]
fn alone_a_caller_has_a_quarter_of_the_permits_and_a_tenant_half() {
    for (size, quarter, half) in
        [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 1, 2), (8, 2, 4), (512, 128, 256), (999, 250, 500)]
    {
        let permits = permits(size);
        let mut taken: Vec<Permit> =
            (0..quarter).map(|_| permits.take(tenant(1), upload_url(1)).expect("a quarter")).collect();
        if quarter < half {
            let refused = permits.take(tenant(1), upload_url(1)).expect_err("it has its quarter");
            assert_eq!(refused, Refused { limit: Limit::Caller, max: quarter }, "{size}");
        }
        while taken.len() < half {
            taken.push(permits.take(tenant(1), upload_url(taken.len() + 1)).expect("half"));
        }
        if size > 1 {
            let refused = permits.take(tenant(1), upload_url(0)).expect_err("it has its half");
            assert_eq!(refused, Refused { limit: Limit::Tenant, max: half }, "{size}");
        }
        drop(taken);
        assert!(permits.0.held.lock().tenants.is_empty(), "nobody who holds none is remembered");
        permits.take(tenant(1), upload_url(1)).expect("all of them were returned");
    }
}

#[test]
fn the_next_tenant_gets_permits_however_many_the_others_have_taken() {
    let permits = permits(512);
    let taken: Vec<Vec<Permit>> = (0..200).map(|of| take_all(&permits, of)).collect();
    let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
    assert_eq!(counts[..7], [256, 86, 28, 10, 3, 1, 1]);
    let served = counts.iter().take_while(|count| **count > 0).count();
    assert_eq!((served, permits.held()), (134, 512), "six have the shared ones, 128 one each of the reserve");
    let refused = permits.take(tenant(200), upload_url(0)).expect_err("all are taken");
    assert_eq!(refused, Refused { limit: Limit::Replica, max: 512 });
}

/// Tenants that ask for all they can get, and return a permit now and then, end up with equally many.
#[test]
fn tenants_that_keep_asking_have_equally_many_after_a_while() {
    let permits = permits(512);
    let mut taken: Vec<Vec<Permit>> = (0..5).map(|of| take_all(&permits, of)).collect();
    for _ in 0..2000 {
        // The largest returns the first one, and asks before the others do.
        let largest = (0..5).max_by_key(|of| taken[*of].len()).expect("five");
        taken[largest].remove(0);
        for of in [largest, 0, 1, 2, 3, 4] {
            let more = take_all(&permits, of);
            taken[of].extend(more);
        }
    }
    let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
    let (least, most) = (counts.iter().min().expect("five"), counts.iter().max().expect("five"));
    assert!(most - least <= 2, "{counts:?}");
}

#[test]
fn where_shares_are_off_one_caller_may_have_every_permit() {
    let permits = Permits::new(Kind::Download, 4, false);
    let caller = Caller { tenant: tenant(1), principal: user(1) };
    let taken = [(); 4].map(|()| permits.take_for(&caller).expect("one of four"));
    let refused = permits.take_for(&caller).expect_err("all are taken");
    assert_eq!(refused, Refused { limit: Limit::Replica, max: 4 });
    drop(taken);
    assert_eq!(permits.held(), 0);
}

#[test]
fn an_upload_url_counts_for_the_owner_once_the_owner_is_known() {
    let permits = permits(8);
    let take = |url| permits.take(tenant(1), upload_url(url)).expect("a permit");
    let first = take(1).counted_for(&user(1)).expect("the first of two");
    let _second = take(2).counted_for(&user(1)).expect("the second of two");
    let refused = take(3).counted_for(&user(1)).expect_err("the third");
    assert_eq!(refused, Refused { limit: Limit::Caller, max: 2 });
    assert_eq!(permits.held(), 2, "the third one was returned");
    let third = take(3).counted_for(&user(2)).expect("another owner's first");
    let third = third.counted_for(&user(2)).expect("it counts for that owner already");
    drop((first, third));
    take(4).counted_for(&user(1)).expect("one was returned");
}

/// What is done with the permits.
#[derive(Debug, Clone)]
enum Step {
    Take {
        tenant: usize,
        holder: usize,
    },
    /// Returns one of those that are held.
    Return(prop::sample::Index),
    /// Counts one of those that are held for an owner.
    Count(prop::sample::Index, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let take = (0..6usize, 0..4usize).prop_map(|(tenant, holder)| Step::Take { tenant, holder });
    let give_back = any::<prop::sample::Index>().prop_map(Step::Return);
    let count = (any::<prop::sample::Index>(), 0..4usize).prop_map(|(index, owner)| Step::Count(index, owner));
    prop::collection::vec(prop_oneof![6 => take, 2 => give_back, 1 => count], 0..120)
}

/// The model: a list of the tenants and holders of the permits that are held.
fn may_have(held: &[(usize, Holder)], size: usize, of: usize, holder: &Holder) -> (bool, bool) {
    let by_tenant = held.iter().filter(|(tenant, _)| *tenant == of).count();
    let by_holder = held.iter().filter(|(tenant, other)| *tenant == of && other == holder).count();
    let by_others = held.len() - by_tenant;
    let reserve = size.div_ceil(4);
    let shared = size.saturating_sub(reserve + by_others);
    // In thirds, because they need not be whole.
    let caller_may = by_holder == 0 || 3 * by_holder < shared;
    let tenant_may = by_tenant == 0 || 3 * by_tenant < 2 * shared;
    (caller_may, tenant_may && held.len() < size)
}

proptest! {
    #[test]
    fn permits_are_given_as_in_the_model(size in 1usize..24, steps in steps()) {
        let permits = permits(size);
        let mut held: Vec<(usize, Holder)> = Vec::new();
        let mut taken: Vec<Permit> = Vec::new();
        for step in steps {
            match step {
                Step::Take { tenant: of, holder } => {
                    let holder = if holder == 0 { upload_url(holder) } else { Holder::Principal(user(holder)) };
                    let (caller_may, tenant_may) = may_have(&held, size, of, &holder);
                    let permit = permits.take(tenant(of), holder.clone());
                    prop_assert_eq!(permit.is_ok(), caller_may && tenant_may, "{:?}", permit);
                    let holds_none = held.iter().all(|(tenant, _)| *tenant != of);
                    match permit {
                        Ok(permit) => {
                            taken.push(permit);
                            held.push((of, holder));
                        }
                        Err(refused) if holds_none => {
                            prop_assert_eq!(refused, Refused { limit: Limit::Replica, max: size });
                            let mut tenants: Vec<usize> = held.iter().map(|(tenant, _)| *tenant).collect();
                            tenants.sort_unstable();
                            tenants.dedup();
                            prop_assert!(tenants.len() >= size.div_ceil(4), "{:?}", tenants);
                        }
                        Err(_) => {}
                    }
                }
                Step::Return(_) | Step::Count(..) if taken.is_empty() => {}
                Step::Return(index) => {
                    let index = index.index(taken.len());
                    drop(taken.swap_remove(index));
                    held.swap_remove(index);
                }
                Step::Count(index, owner) => {
                    let index = index.index(taken.len());
                    let (of, holder) = held.swap_remove(index);
                    let permit = taken.swap_remove(index);
                    let new = Holder::Principal(user(owner));
                    // The permit is the tenant's still.
                    held.push((of, holder.clone()));
                    let (caller_may, _) = may_have(&held, size, of, &new);
                    held.pop();
                    let counted = permit.counted_for(&user(owner));
                    prop_assert_eq!(counted.is_ok(), caller_may || holder == new);
                    if let Ok(permit) = counted {
                        taken.push(permit);
                        held.push((of, new));
                    }
                }
            }
            prop_assert!(held.len() <= size);
            prop_assert_eq!(permits.held(), held.len());
            for (of, holder) in &held {
                let by_tenant = held.iter().filter(|(tenant, _)| tenant == of).count();
                let by_holder = held.iter().filter(|other| *other == &(*of, holder.clone())).count();
                prop_assert!(by_tenant <= size.div_ceil(2) && by_holder <= size.div_ceil(4), "{:?}", held);
            }
        }
    }
}
