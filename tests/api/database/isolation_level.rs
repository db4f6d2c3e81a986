//! The database, or its role, has another default of the isolation level than the statements were written for.

use futures_util::future::join_all;

use crate::harness::{App, Database, sample_bytes};

#[tokio::test]
async fn calls_at_the_same_time_all_succeed_although_the_database_is_serializable_by_default() {
    // Each statement alone, and statements that calls share.
    for batch_size in ["1", "64"] {
        let database = Database::create().await;
        database.set_default("default_transaction_isolation", Some("serializable")).await;
        let mut app = App::on(database, [("database-batch-size", batch_size), ("database-connections", "16")]);
        app.run().await;
        app.push_printers().await;
        for _ in 0..8 {
            let (ada, bytes) = (app.ada(), sample_bytes(4000));
            let uploaded = ada.clone().create(&app.new_document().await, 4000).await.expect("a session");
            let canceled = ada.clone().create(&app.new_document().await, 4000).await.expect("a session");

            let ranges = (0..4).map(|quarter| {
                let (mut ada, session, bytes) = (ada.clone(), uploaded.clone(), bytes.clone());
                async move { ada.send(&session, &bytes, quarter * 1000..(quarter + 1) * 1000).await }
            });
            let cancels = (0..8).map(|_| {
                let (mut ada, name) = (ada.clone(), canceled.name.clone());
                async move { ada.delete(&name).await }
            });
            let (ranges, cancels) = tokio::join!(join_all(ranges), join_all(cancels));

            for range in ranges {
                range.expect("acknowledged");
            }
            for cancel in cancels {
                cancel.expect("canceled");
            }
            assert_eq!(ada.clone().download(&uploaded.document, 0).await.expect("a download").1, bytes);
        }
    }
}
