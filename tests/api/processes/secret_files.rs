//! `serve` and `migrate` read secrets from files, as containers mount them.

use std::{fs, path::Path};

use print_upload_client::Credential;

use crate::harness::{Actor, App, ErrorExt, Program, eventually, sample_bytes};

/// The flags of an app without those of these names.
fn flags_without(app: &App, left_out: &[&str]) -> Vec<String> {
    let flags = app.flags().filter(|(flag, _)| !left_out.contains(flag));
    flags.map(|(flag, value)| format!("--{flag}={value}")).collect()
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).expect("a file");
    file.display().to_string()
}

async fn run(command: &str, flags: &[String]) -> (Option<i32>, String) {
    let arguments: Vec<&str> = std::iter::once(command).chain(flags.iter().map(String::as_str)).collect();
    let (status, output) = Program::run(&arguments).await;
    (status.code(), output)
}

#[tokio::test]
async fn a_replica_whose_secrets_are_files_takes_up_what_one_with_flags_began() {
    let mut app = App::start().await;
    let (document, bytes) = (app.new_document().await, sample_bytes(1000));
    let session = app.ada().create(&document, bytes.len()).await.expect("a session");
    app.stop().await;

    let folder = tempfile::tempdir().expect("a folder");
    let url = written(folder.path(), "database-url", &format!("\u{feff}{}\r\n", app.flag("database-url")));
    let keys = format!("a newer key, which signs from now on\n\n{}\n", app.flag("upload-token-key"));
    let keys = written(folder.path(), "upload-token-key", &keys);
    let (code, output) = run("migrate", &[format!("--database-url-file={url}")]).await;
    assert_eq!(code, Some(0), "{output}");
    app.replace_flag("database-url", "database-url-file", &url);
    app.replace_flag("upload-token-key", "upload-token-key-file", &keys);
    let _program = Program::serve(&mut app).await;

    let upload_url = Credential::of_upload_url(&session.upload_url).expect("an upload URL");
    Actor::with(app.address, upload_url).send(&session, &bytes, 0..1000).await.expect("the old key still verifies");
    assert!(app.ada().download(&document, 0).await.expect("a download").1 == bytes);
}

#[tokio::test]
async fn keys_that_are_replaced_in_their_file_are_used_without_a_restart() {
    let mut app = App::start().await;
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (app.flag("upload-token-key").to_owned(), "a newer key, which signs from now on");
    let file = written(folder.path(), "upload-token-key", &old);
    app.replace_flag("upload-token-key", "upload-token-key-file", &file);
    let mut program = Program::serve(&mut app).await;
    let mut ada = app.ada();
    let first = ada.create(&app.new_document().await, 1000).await.expect("a session");

    // A file that holds no usable keys changes nothing.
    fs::write(&file, "short\n").expect("a file");
    program.wait_for_line("the old keys of upload URLs stay in use").await;
    ada.holder_of(&first).get(&first.name).await.expect("the old key");

    // The new key signs, and the old one still verifies.
    fs::write(&file, format!("{new}\n{old}\n")).expect("a file");
    program.wait_for_line("the keys of upload URLs were read again").await;
    let second = ada.get(&first.name).await.expect("the session");
    for session in [&first, &second] {
        ada.holder_of(session).get(&first.name).await.expect("both keys");
    }

    fs::write(&file, new).expect("a file");
    eventually("the old key is forgotten", async || {
        let answer = ada.holder_of(&first).get(&first.name).await;
        answer.is_err_and(|error| error.reason() == "UPLOAD_TOKEN_INVALID")
    })
    .await;
    ada.holder_of(&second).get(&first.name).await.expect("the new key");
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_file_is_reported_with_its_flag() {
    let mut app = App::start().await;
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let empty = written(folder.path(), "empty", "\n");
    let short = written(folder.path(), "short", "short\n");
    let table = [
        ("database-url", "database-url-file", "/nowhere", "--database-url-file /nowhere"),
        ("database-url", "database-url-file", empty.as_str(), "--database-url-file must be postgres://"),
        ("upload-token-key", "upload-token-key-file", "/nowhere", "--upload-token-key-file /nowhere"),
        ("upload-token-key", "upload-token-key-file", empty.as_str(), "holds no key"),
        ("upload-token-key", "upload-token-key-file", short.as_str(), "at least 32 bytes"),
    ];
    for (flag, file_flag, file, expected) in table {
        let mut flags = flags_without(&app, &[flag]);
        flags.push(format!("--{file_flag}={file}"));
        let (code, output) = run("serve", &flags).await;
        assert_eq!(code, Some(1), "{file_flag}={file}: {output}");
        assert!(output.starts_with("print-upload: ") && output.contains(expected), "{file_flag}={file}: {output}");
        assert_eq!(output.lines().count(), 1, "{file_flag}={file}: {output}");
    }

    for (flag, file_flag) in [("database-url", "database-url-file"), ("upload-token-key", "upload-token-key-file")] {
        let mut both = flags_without(&app, &[]);
        both.push(format!("--{file_flag}={short}"));
        let (code, output) = run("serve", &both).await;
        assert_eq!(code, Some(1), "the file counts: {output}");
        both.pop();
        both.push(format!("--{file_flag}="));
        both.push("--listen=nowhere".into());
        let (code, output) = run("serve", &both).await;
        assert_eq!(code, Some(2), "an empty one is none, and only the address is wrong: {output}");
        assert!(output.contains("nowhere") && !output.contains(file_flag), "{output}");
        let (code, output) = run("serve", &flags_without(&app, &[flag])).await;
        assert_eq!(code, Some(2), "one of both is needed: {output}");
        assert!(output.contains(&format!("--{flag}")) && output.contains(&format!("--{file_flag}")), "{output}");
    }
}

#[tokio::test]
async fn a_password_that_is_not_encoded_is_reported_and_not_shown() {
    let mut app = App::start().await;
    app.stop().await;
    for secret in ["se#cret", "se/cret", "se?cret", "12#cret", "se%cret"] {
        let flags = flags_without(&app, &["database-url"]);
        let url = format!("--database-url=postgres://user:{secret}@127.0.0.1/database");
        for command in ["serve", "migrate"] {
            let flags = if command == "serve" { flags.clone() } else { Vec::new() };
            let (code, output) = run(command, &[flags, vec![url.clone()]].concat()).await;
            assert_eq!(code, Some(1), "{output}");
            assert!(output.contains("must be percent-encoded") && !output.contains("cret"), "{output}");
            assert_eq!(output.lines().count(), 1, "{output}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_replaced_in_its_file_is_used_by_new_connections() {
    let mut app = App::start().await;
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let address = app.flag("database-url").to_owned();
    let file = written(folder.path(), "database-url", &address);
    app.replace_flag("database-url", "database-url-file", &file);
    let mut program = Program::serve(&mut app).await;
    app.ada().create(&app.new_document().await, 10).await.expect("a session");

    fs::write(&file, "no address at all").expect("a file");
    program.wait_for_line("the old address of the database stays in use").await;
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    let pool = app.pool();
    for statement in [
        format!("create role {role} login superuser password 'p%#/@'"),
        // An open connection stays, so all of them are closed.
        format!("grant all on schema public to {role}"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await.expect("a role");
    }
    let mut url = url::Url::parse(&address).expect("a URL");
    url.set_username(&role).expect("a host");
    url.set_password(Some("p%25%23%2F%40")).expect("a host");
    fs::write(&file, url.as_str()).expect("a file");
    program.wait_for_line("the address of the database was read again").await;
    let close = "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name = 'print-upload' and usename <> $1";
    sqlx::query(close).bind(&role).execute(pool).await.expect("closed");

    let users = "select count(*) from pg_stat_activity
                 where datname = current_database() and application_name = 'print-upload' and usename = $1";
    eventually("new connections are those of the new role", async || {
        drop(app.ada().create(&app.new_document().await, 10).await);
        sqlx::query_scalar::<_, i64>(users).bind(&role).fetch_one(pool).await.expect("a number") > 0
    })
    .await;
    program.terminate();
    program.wait_for_end().await;
    sqlx::query(sqlx::AssertSqlSafe(format!("drop owned by {role}"))).execute(pool).await.expect("no grants");
    sqlx::query(sqlx::AssertSqlSafe(format!("drop role {role}"))).execute(pool).await.expect("no role");
}
