//! Two replicas, each a process of its own. They share the database and the store, and nothing else.

mod failover;
mod late_create;
mod limits;
mod notifications;
mod renewals;
mod repeats;

use crate::harness::{Actor, App, Program, Proxy};

/// Two replicas on an app's data, and ada as a caller of each.
struct Replicas {
    app: App,
    first: Actor,
    second: Actor,
    programs: [Program; 2],
}

impl Replicas {
    async fn start() -> Self {
        Self::over(App::start().await).await
    }

    async fn over(mut app: App) -> Self {
        app.stop().await;
        let program = Program::serve(&mut app).await;
        let first = app.ada();
        let other_program = Program::serve(&mut app).await;
        let second = app.ada();
        Self { app, first, second, programs: [program, other_program] }
    }
}

/// Two replicas on an app's data, and ada as a caller of each. The first is the app's own, behind a proxy to Postgres.
struct ReplicaBehindProxy {
    app: App,
    proxy: Proxy,
    first: Actor,
    second: Actor,
    _program: Program,
}

impl ReplicaBehindProxy {
    async fn over(mut app: App) -> Self {
        let direct = app.flag("database-url").to_owned();
        let proxy = app.restart_behind_proxy().await;
        let first = app.ada();
        app.set_flag("database-url", &direct);
        let program = Program::serve(&mut app).await;
        let second = app.ada();
        Self { app, proxy, first, second, _program: program }
    }
}
