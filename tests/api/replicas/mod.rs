//! Two replicas, each a process of its own. They share the database and the store, and nothing else.

mod failover;
mod late_create;
mod notifications;
mod repeats;

use crate::harness::{Actor, App, Program};

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
