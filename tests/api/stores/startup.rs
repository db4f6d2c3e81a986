//! Stores that `serve` refuses to start with.

use std::{fs, process::ExitStatus};

use crate::harness::{App, Backend, Bucket, Program, settings_of};

/// Runs `serve` on an app's data with another store, to its end.
pub async fn serve(app: &App, bucket: &Bucket) -> (ExitStatus, String) {
    serve_on(app, &bucket.flags()).await
}

/// The same with flags in place of the app's.
async fn serve_on(app: &App, own: &[(&str, String)]) -> (ExitStatus, String) {
    let others = app.flags().filter(|(flag, _)| !own.iter().any(|(name, _)| name == flag));
    let mut flags: Vec<String> = others.map(|(flag, value)| format!("--{flag}={value}")).collect();
    flags.extend(own.iter().map(|(name, value)| format!("--{name}={value}")));
    let mut arguments = vec!["serve", "--listen=127.0.0.1:0"];
    arguments.extend(flags.iter().map(String::as_str));
    Program::run(&arguments).await
}

#[tokio::test]
async fn a_setting_that_a_provider_does_not_know_is_reported_with_its_line() {
    let app = App::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "# of whichever provider\nhush = hush\n").expect("written");
    for store in ["s3://bucket/prefix", "az://container/prefix", "gs://bucket/prefix"] {
        let settings = file.path().display().to_string();

        let (status, output) = serve_on(&app, &[("store", store.into()), ("store-settings", settings)]).await;

        assert_eq!(status.code(), Some(1), "{store}: {output}");
        assert!(
            output.contains("line 2 is no setting of this kind of store") && !output.contains("hush"),
            "{store}: {output}"
        );
    }
}

/// Without the right to list, the service could not drop what failed writers have left.
#[tokio::test]
async fn a_store_that_does_not_list_keeps_the_program_from_starting() {
    let Some(mut bucket) = Backend::S3.bucket("a_store_that_does_not_list") else { return };
    let app = bucket.app().await;
    bucket.settings = settings_of("TEST_STORE_S3_UNLISTED_SETTINGS");
    let (status, output) = serve(&app, &bucket).await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("does not take, give, list and drop an object"), "{output}");
}
