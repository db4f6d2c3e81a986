//! Other spellings of the same path: qualified names of actions, and percent-encoded names.

use crate::harness::{App, refused, sample_bytes};

#[tokio::test]
async fn an_action_can_be_called_by_its_qualified_name() {
    let app = App::start().await;
    let (ada, bytes) = (app.rest(&app.ada()), sample_bytes(10));
    for prefix in ["", "/v1.0", "/beta"] {
        let document = app.new_document().await;
        let (job, _) = document.split_once("/documents").expect("a document");
        let create = format!("{prefix}/print/{document}/microsoft.graph.createUploadSession");
        let properties = serde_json::json!({"documentName": "a", "contentType": "a/b", "size": 10});
        let created = ada.post_json(&create, &serde_json::json!({"properties": properties})).await;
        assert_eq!(created.status, 200, "{prefix}: {created:?}");
        let start = format!("{prefix}/print/{job}/microsoft.graph.start");
        assert_eq!(ada.post(&start).await.reason(), refused(409, "DOCUMENT_NOT_UPLOADED"));
        let url = created.json()["uploadUrl"].as_str().expect("a URL").to_owned();
        assert_eq!(ada.put(&url, &bytes, 0..10).await.status, 201);
        let started = ada.post(&start).await;
        assert_eq!((started.status, started.json()["state"].as_str()), (200, Some("pending")), "{started:?}");
        assert_eq!(ada.post(&format!("{prefix}/print/{job}/microsoft.graph.cancel")).await.status, 204);
    }
    let (job, _) =
        app.new_document().await.split_once("/documents").map(|(job, _)| (job.to_owned(), ())).expect("a job");
    for other in ["start.start", "microsoft.graph.documents", "Microsoft.Graph.start", "graph.start"] {
        assert_eq!(ada.post(&format!("/print/{job}/{other}")).await.reason(), refused(404, "PATH_UNKNOWN"), "{other}");
    }
    let answer = ada.get(&format!("/print/{job}/microsoft.graph.start")).await;
    assert_eq!((answer.reason(), answer.header("allow")), (refused(405, "METHOD_NOT_ALLOWED"), "POST"));
}

#[tokio::test]
async fn a_segment_is_decoded_after_the_path_was_split() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(10));
    let url = ada.begin(&document, 10).await;
    assert_eq!(ada.put(&url, &bytes, 0..10).await.status, 201);
    let encoded = document.replace("jobs", "%6Aobs").replace("printers/p", "%70rinters/%70");
    for path in [
        format!("/print/{document}/%24value"),
        format!("/v1.0/%70rint/{encoded}/%24%76alue"),
        format!("/print/{encoded}/$value?x=%24value"),
    ] {
        let answer = ada.get(&path).await;
        assert!(answer.status == 200 && answer.body == bytes, "{path}: {answer:?}");
    }
    let (path, query) = url.split_once("tempauthtoken=").expect("a token");
    let url = format!("{}tempauth%74oken={query}", path.replace("uploadSessions", "upload%53essions"));
    assert_eq!(ada.get(&url).await.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"));
    for path in ["$value%2F", "%2524value", "%$value", "%%32%34value", "$value%00"] {
        let answer = ada.get(&format!("/print/{document}/{path}")).await;
        assert_eq!(answer.reason(), refused(404, "PATH_UNKNOWN"), "{path}");
    }
}
