//! A crash at each step: the program dies at a crash point (`src/crash.rs`), and starts again on the same data. What was
//! acknowledged is there, what was not can be repeated, and nothing is left behind.
//!
//! Each operation is a function with one scene: data, a call that the crash cuts off, what must hold after the restart.
//! `make crash-points` builds the program that crashes.

mod catalog;
mod crash;
mod ends;
mod jobs;
mod purging;
mod reclaiming;
mod retention;
mod uploads;

use print_upload::crash::POINTS;

use self::crash::point_of;
use crate::harness::{App, Program};

/// Makes a test of each line for each store: the value of `CRASH_AT`, and the operation that it cuts off. `files` and
/// `servers` have the points that only these stores reach. Those on servers run only with `make crashes`.
macro_rules! crashes {
    (everywhere { $($everywhere:tt)* } files { $($files:tt)* } servers { $($servers:tt)* }) => {
        crashes! { files on Local, ignored: false; $($everywhere)* $($files)* }
        crashes! { s3 on S3, ignored: true; $($everywhere)* $($servers)* }
        crashes! { azure on Azure, ignored: true; $($everywhere)* $($servers)* }
    };
    ($store:ident on $backend:ident, ignored: $ignored:tt;
     $($test:ident: $crash_at:literal in $module:ident::$operation:ident,)*) => {
        mod $store {
            use super::*;
            use crate::harness::Backend;

            pub const CASES: &[&str] = &[$($crash_at),*];

            $(
                #[tokio::test]
                #[cfg_attr($ignored, ignore = "takes minutes: make crashes")]
                async fn $test() {
                    let test = concat!("crashes::", stringify!($store), "::", stringify!($test));
                    let Some(bucket) = Backend::$backend.bucket(test) else { return };
                    $module::$operation($crash_at, bucket).await;
                }
            )*
        }
    };
}

crashes! {
    everywhere {
        start_checks_the_store: "probe.put" in purging::start,
        first_start_puts_an_identity: "identity.put" in purging::first_start,
        first_start_adopts_the_store: "object_store.adopted" in purging::first_start,

        create_committed: "create.committed" in uploads::create_a_session,
        create_ends_an_overdue_session: "end.executed" in uploads::create_in_place_of_an_overdue_session,
        create_notifies: "end.notified" in uploads::create_in_place_of_an_overdue_session,

        range_begun: "fragment.begun" in uploads::send_a_range,
        range_prepared: "fragment.prepared" in uploads::send_a_range,
        range_committed: "range.committed" in uploads::send_a_range,
        range_about_to_be_answered: "range.answering" in uploads::send_a_range,
        range_begun_then_canceled: "fragment.begun" in uploads::send_a_range_and_cancel,
        range_prepared_then_canceled: "fragment.prepared" in uploads::send_a_range_and_cancel,
        range_committed_then_canceled: "range.committed" in uploads::send_a_range_and_cancel,
        last_range_committed: "range.committed" in uploads::complete_a_document,
        document_completed: "document.completed" in uploads::complete_a_document,
        last_range_about_to_be_answered: "range.answering" in uploads::complete_a_document,
        unpublished_fragment_discarded: "fragment.discarded" in uploads::discard_an_unpublished_fragment,
        published_fragment_discarded: "fragment.discarded" in uploads::discard_a_published_fragment,

        url_renewed: "renew.committed" in uploads::renew_the_upload_url,

        cancel_executed: "end.executed" in ends::cancel,
        cancel_committed: "cancel.committed" in ends::cancel,
        cancel_notified: "end.notified" in ends::cancel,
        cancel_announced: "end.announced" in ends::cancel,
        expire_committed: "expire.committed" in ends::expire,
        expire_notified: "end.notified" in ends::expire,
        expire_announced: "end.announced" in ends::expire,

        job_created: "job_create.committed" in jobs::create,
        job_started: "job_start.committed" in jobs::start,
        job_cancel_ends_the_session: "end.executed" in jobs::cancel,
        job_cancel_before_commit: "job_cancel.before_commit" in jobs::cancel,
        job_cancel_committed: "job_cancel.committed" in jobs::cancel,
        job_cancel_notified: "end.notified" in jobs::cancel,
        job_delete_ends_the_session: "end.executed" in jobs::delete,
        job_delete_before_commit: "job_delete.before_commit" in jobs::delete,
        job_delete_committed: "job_delete.committed" in jobs::delete,
        job_delete_frees_the_document: "job_delete.freed" in jobs::delete_uploaded,
        job_delete_freed_before_commit: "job_delete.before_commit" in jobs::delete_uploaded,
        job_delete_freed_committed: "job_delete.committed" in jobs::delete_uploaded,

        tenant_before_commit: "tenant_upsert.before_commit" in catalog::tenant,
        tenant_committed: "tenant_upsert.committed" in catalog::tenant,
        printer_before_commit: "printer_upsert.before_commit" in catalog::printer,
        printer_committed: "printer_upsert.committed" in catalog::printer,
        share_before_commit: "share_upsert.before_commit" in catalog::share,
        share_committed: "share_upsert.committed" in catalog::share,
        job_before_commit: "job_upsert.before_commit" in catalog::job,
        job_committed: "job_upsert.committed" in catalog::job,
        task_before_commit: "task_upsert.before_commit" in catalog::task,
        task_committed: "task_upsert.committed" in catalog::task,

        expired_session_claimed: "reclaim.claimed" in ends::expire,
        canceled_session_hastened: "reclaim.hastened" in reclaiming::repeated_cancel,
        first_pass_in_the_middle: "reclaim.first_dropped" in reclaiming::early_pass,
        first_pass_done: "reclaim.passed" in reclaiming::early_pass,
        second_pass_done: "reclaim.passed:2" in reclaiming::early_pass,
        both_passes_settled: "reclaim.settled" in reclaiming::early_pass,
        last_pass_claimed: "reclaim.claimed" in reclaiming::last_pass,
        last_pass_in_the_middle: "reclaim.first_dropped" in reclaiming::last_pass,
        last_pass_done: "reclaim.passed" in reclaiming::last_pass,
        last_pass_settled: "reclaim.settled" in reclaiming::last_pass,
        completed_pass_claimed: "reclaim.claimed" in reclaiming::pass_over_a_completed_session,
        completed_pass_in_the_middle: "reclaim.first_dropped" in reclaiming::pass_over_a_completed_session,
        completed_pass_done: "reclaim.passed" in reclaiming::pass_over_a_completed_session,
        completed_pass_settled: "reclaim.settled" in reclaiming::pass_over_a_completed_session,
        failed_pass_deferred: "reclaim.deferred" in reclaiming::failed_pass,

        old_jobs_judged: "job_sweep.judged" in retention::sweep_jobs,
        old_jobs_freed: "job_delete.freed" in retention::sweep_jobs,
        old_jobs_before_commit: "job_sweep.before_commit" in retention::sweep_jobs,
        old_jobs_committed: "job_sweep.committed" in retention::sweep_jobs,
        audit_month_before_commit: "audit_add.before_commit" in retention::add_months,
        audit_month_committed: "audit.committed" in retention::add_months,
        old_audit_before_commit: "audit_drop.before_commit" in retention::drop_audit,
        old_audit_committed: "audit.committed" in retention::drop_audit,

        tenant_marked: "tenant_delete.begun" in retention::delete_tenant,
        tenant_sessions_ended: "tenant_delete.jobs_ended" in retention::delete_tenant,
        tenant_jobs_freed: "job_delete.freed" in retention::delete_tenant,
        tenant_jobs_before_commit: "tenant_delete.before_commit" in retention::delete_tenant,
        tenant_jobs_deleted: "tenant_delete.jobs_deleted" in retention::delete_tenant,
        tenant_sessions_removed: "tenant_delete.sessions_removed" in retention::finish_deleting_a_tenant,
        tenant_jobs_removed: "tenant_delete.jobs_removed" in retention::finish_deleting_a_tenant,
        tenant_audit_removed: "tenant_delete.audit_removed" in retention::finish_deleting_a_tenant,
        tenant_before_it_is_removed: "tenant_delete.catalog_before_commit" in retention::finish_deleting_a_tenant,
        tenant_removed: "tenant_delete.committed" in retention::finish_deleting_a_tenant,

        sessions_purged: "purge_sessions.committed" in purging::purge_sessions,
        jobs_purged_before_commit: "purge_jobs.before_commit" in purging::purge_jobs,
        jobs_purged: "purge_jobs.committed" in purging::purge_jobs,
    }
    files {
        start_checks_the_folder: "folder.checked" in purging::start,
        range_staged: "fragment.staged" in uploads::send_a_range,
        range_renamed: "fragment.renamed" in uploads::send_a_range,
        range_staged_then_canceled: "fragment.staged" in uploads::send_a_range_and_cancel,
        range_renamed_then_canceled: "fragment.renamed" in uploads::send_a_range_and_cancel,
        unpublished_fragment_removed: "fragment.rest_removed" in uploads::discard_an_unpublished_fragment,
        published_fragment_removed: "fragment.rest_removed" in uploads::discard_a_published_fragment,
        first_pass_removes_the_folder: "reclaim.folder_removed" in reclaiming::early_pass,
        last_pass_removes_the_folder: "reclaim.folder_removed" in reclaiming::last_pass,
    }
    servers {
        range_spooled: "fragment.spooled" in uploads::send_a_range,
        range_put: "fragment.put" in uploads::send_a_range,
        range_spooled_then_canceled: "fragment.spooled" in uploads::send_a_range_and_cancel,
        range_put_then_canceled: "fragment.put" in uploads::send_a_range_and_cancel,
    }
}

/// The points that no call can reach on files, and why.
const NOT_ON_FILES: &[(&str, &str)] = &[
    ("fragment.spooled", "ranges are written to staged files, not to a spool"),
    ("fragment.put", "a staged file is renamed, not put"),
];

/// The same on servers.
const NOT_ON_SERVERS: &[(&str, &str)] = &[
    ("folder.checked", "there is no folder to make"),
    ("fragment.staged", "ranges are written to a spool, not to staged files"),
    ("fragment.renamed", "an object is put as a whole, and not renamed"),
    ("fragment.rest_removed", "there are no staged files and no folders"),
    ("reclaim.folder_removed", "there are no folders"),
];

#[test]
fn every_point_has_a_case_on_every_store_that_reaches_it() {
    let stores = [
        ("files", files::CASES, NOT_ON_FILES),
        ("S3", s3::CASES, NOT_ON_SERVERS),
        ("Azure", azure::CASES, NOT_ON_SERVERS),
    ];
    for (store, cases, not_reached) in stores {
        for point in POINTS {
            let has_case = cases.iter().any(|crash_at| point_of(crash_at) == *point);
            let is_reached = not_reached.iter().all(|(other, _)| other != point);
            assert_eq!(has_case, is_reached, "{point} on {store}");
        }
    }
}

#[tokio::test]
async fn a_point_that_does_not_exist_keeps_the_program_from_starting() {
    let (app, _) = App::stopped().await;
    for (crash_at, problem) in [
        ("cancel.comitted", r#"CRASH_AT: there is no crash point "cancel.comitted""#),
        ("cancel.committed:0", r#"CRASH_AT: "0" is no number of times from 1 on"#),
        ("cancel.committed:twice", r#"CRASH_AT: "twice" is no number of times from 1 on"#),
    ] {
        let (status, output) = Program::start_crashing(&app, crash_at).wait_for_end().await;
        assert_eq!((status.code(), output.as_str()), (Some(1), format!("print-upload: {problem}").as_str()));
    }
}

/// The program that ships ignores `CRASH_AT`.
#[tokio::test]
async fn the_program_that_ships_has_no_crash_points() {
    let (mut app, document) = App::stopped().await;
    let _program = Program::serve_with(&mut app, &[("CRASH_AT", "create.committed")]).await;
    app.ada().create(&document, 1000).await.expect("a session");
}
