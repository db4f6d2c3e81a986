//! `print-upload-dev demo`: an upload that is canceled and one that is completed, call by call, on scratch data.
//! It fails unless every check holds.

use print_upload::blobs::Blobs;
use print_upload_client as client;

use super::story::{self, Callers, Grpc};
use crate::{Options, ScratchFolder, Stack, issuer::TokenIssuer, postgres::Durability};

/// Runs the demo in a scratch folder, which is removed afterwards.
pub(super) async fn run() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("demo")?;
    let stack = Stack::start(folder.path(), Options::anywhere(Durability::Durable)).await?;
    println!("the service is at {}, its data are under {}", stack.address, folder.path().display());
    let held = run_story(&stack, &TokenIssuer::of_folder(folder.path())?).await;
    stack.stop().await?;
    held?;
    println!("\nAll of it held.");
    Ok(())
}

async fn run_story(stack: &Stack, issuer: &TokenIssuer) -> anyhow::Result<usize> {
    let transport = client::connect(&[format!("http://{}", stack.address)], None)?;
    let store = Blobs::open(stack.store_url()?.as_str(), None, &std::env::temp_dir())?;
    let callers = Callers::new(issuer)?;
    let document = callers.owner.new_document(&transport).await?;
    story::run(&Grpc { transport, is_narrated: true }, &document, &callers, Some(&store)).await
}
