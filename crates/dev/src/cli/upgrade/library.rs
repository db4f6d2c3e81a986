//! Callers that use the client library's own balancer, retries and transfers.

use std::{ops::Deref, rc::Rc};

use anyhow::{Context, ensure};
use print_upload_client::{
    Client, Error, Progress, Reason, Source, UploadOptions,
    proto::{DeleteUploadSessionRequest, DocumentProperties, upload_session::State},
};
use tokio::sync::watch;

use super::{calls::Calls, counts::Counts};
use crate::cli::story::{Grpc, SIZE, bytes};

/// Uploads, cancels and downloads with the library, over both replicas.
pub(super) struct Library {
    pub(super) client: Client,
    pub(super) jobs: Rc<Calls<Grpc>>,
    pub(super) counts: Rc<Counts>,
}

impl Library {
    /// Cancels an upload, then uploads the document. Returns its name.
    pub(super) async fn cancel_and_upload(&self) -> anyhow::Result<String> {
        let document = self.jobs.new_document().await?;
        let properties = DocumentProperties {
            document_name: "poster.pdf".into(),
            content_type: "application/pdf".into(),
            size_bytes: SIZE as i64,
        };
        let first = self.client.create(&document, &properties).await.context("library create")?;
        for _ in 0..2 {
            let request = DeleteUploadSessionRequest { name: first.name.clone(), ..Default::default() };
            self.client.cancel(request).await.context("library cancel")?;
        }
        let ended = self.client.session(&first.name).await.context("library get")?;
        ensure!(ended.state() == State::Canceled, "{}: a canceled session is {:?}", first.name, ended.state());
        let content = bytes(0..SIZE);
        let (source, progress) = (Source::bytes(content.clone()), watch::Sender::<Progress>::default());
        let options = UploadOptions::default();
        let late = self.client.upload(&ended, &source, &options, &progress).await;
        ensure!(is_canceled(&late), "{}: an upload to a canceled session: {late:?}", first.name);

        let second = self.client.create(&document, &properties).await.context("library create")?;
        ensure!(second.name != first.name, "{document}: the canceled session is back");
        self.client.upload(&second, &source, &options, &progress).await.context("library upload")?;
        let mut downloaded = Vec::new();
        self.client.download(&document, &mut downloaded, &progress).await.context("library download")?;
        ensure!(downloaded == content.deref(), "{document}: the download differs from what was sent");
        for kind in ["create", "create", "cancel", "cancel", "get", "upload", "download"] {
            self.counts.ended(format!("library {kind}"), 1);
        }
        Ok(document)
    }
}

fn is_canceled<T>(result: &Result<T, Error>) -> bool {
    let Err(error) = result else { return false };
    matches!(error, Error::Ended(State::Canceled)) || error.reason() == Some(Reason::UploadSessionCanceled)
}
