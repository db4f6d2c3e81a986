//! Who calls what: the replicas, tenants with printers and users, and their tokens.

use std::{net::SocketAddr, rc::Rc};

use anyhow::Context;
use fastrand::Rng;
use print_upload::catalog::Catalog;
use print_upload_client::{Client, Credential, Transport, connect, proto};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    calls::{Caller, CatalogOwner, Turns},
    content::Contents,
    counts::Counts,
    grpc::Grpc,
    rest::Rest,
    terms::Terms,
};
use crate::{
    bench::system::{Service, System},
    issuer::{Subject, TOKEN_LIFETIME, TokenIssuer},
    sample,
    stack::lookup,
};

const TENANTS: usize = 4;
const USERS: usize = 8;
const PRINTERS: usize = 4;

/// Of ten jobs so many are created on a tenant's busy printer. It reaches the limit of a printer, the others do not.
const ON_BUSY_PRINTER: usize = 3;

/// What every scene needs.
pub struct World {
    pub terms: Terms,
    pub counts: Rc<Counts>,
    pub contents: Contents,
    pub catalog: CatalogOwner,
    /// Strangers, who call one replica after the other.
    pub strangers: Turns,
    pub replicas: [Replica; 2],
    pub tenants: Vec<Tenant>,
    pub expired_token: String,
    /// Canceled when no more scenes begin, and none waits any more.
    pub stopping: CancellationToken,
    issuer: TokenIssuer,
}

/// A replica, and connections to it that many callers share.
#[derive(Debug, Clone)]
pub struct Replica {
    pub grpc: SocketAddr,
    pub rest: SocketAddr,
    pub admin: SocketAddr,
    transport: Transport,
    http: reqwest::Client,
}

pub struct Tenant {
    pub id: Uuid,
    pub users: Vec<User>,
}

pub struct User {
    pub id: String,
    pub token: String,
}

impl World {
    /// Makes tenants, users and printers, and pushes their catalog.
    pub async fn new(system: &System, services: [&Service; 2], terms: Terms) -> anyhow::Result<Self> {
        let (issuer, counts) = (system.issuer().clone(), Rc::<Counts>::default());
        let [first, second] = services;
        let replicas = [Replica::new(first)?, Replica::new(second)?];
        let tokens = sample::tokens(&issuer)?;
        let catalog_token = lookup(&tokens, "CATALOG_TOKEN")?;
        let client = |replica: &Replica| {
            anyhow::Ok(Client::over(replica.transport.clone(), Credential::access_token(catalog_token)?))
        };
        let catalog = CatalogOwner::new([client(&replicas[0])?, client(&replicas[1])?], &counts);
        let tenants = (0..TENANTS).map(|_| {
            let id = Uuid::new_v4();
            let users = (0..USERS).map(|_| new_user(&issuer, id)).collect::<anyhow::Result<_>>()?;
            anyhow::Ok(Tenant { id, users })
        });
        let tenants = tenants.collect::<anyhow::Result<Vec<_>>>()?;
        let expired_token = lookup(&tokens, "EXPIRED_TOKEN")?.to_owned();
        let (contents, stopping) = (Contents::default(), CancellationToken::new());
        let strangers = Turns::new("stranger's", 0, &counts);
        let world =
            Self { terms, counts, contents, catalog, strangers, replicas, tenants, expired_token, stopping, issuer };
        for tenant in &world.tenants {
            world.catalog.push(&catalog_of(tenant.id, 0)).await.context("the catalog")?;
        }
        Ok(world)
    }

    /// A user who has never called before.
    pub fn new_user(&self, tenant: Uuid) -> anyhow::Result<User> {
        new_user(&self.issuer, tenant)
    }

    pub fn any_tenant(&self, rng: &mut Rng) -> &Tenant {
        &self.tenants[rng.usize(..TENANTS)]
    }

    /// A caller over gRPC: on shared connections, or on new ones, which are closed when the caller is dropped.
    pub fn grpc(&self, token: &str, has_own_connections: bool, rng: &mut Rng) -> anyhow::Result<Caller<Grpc>> {
        let api = |replica: &Replica| {
            let own = if has_own_connections { Some(replica.connect()?) } else { None };
            Grpc::new(own.as_ref().unwrap_or(&replica.transport), Some(token))
        };
        Ok(Caller::new([api(&self.replicas[0])?, api(&self.replicas[1])?], rng.usize(..2), &self.counts))
    }

    /// The same over REST.
    pub fn rest(&self, token: &str, has_own_connections: bool, rng: &mut Rng) -> anyhow::Result<Caller<Rest>> {
        let api = |replica: &Replica| {
            let own = if has_own_connections { Some(http()?) } else { None };
            anyhow::Ok(Rest::new(own.as_ref().unwrap_or(&replica.http), replica.rest, Some(token)))
        };
        Ok(Caller::new([api(&self.replicas[0])?, api(&self.replicas[1])?], rng.usize(..2), &self.counts))
    }
}

impl Replica {
    fn new(service: &Service) -> anyhow::Result<Self> {
        let Service { grpc, rest, admin, .. } = *service;
        Ok(Self { grpc, rest, admin, transport: connect(&[format!("http://{grpc}")], None)?, http: http()? })
    }

    /// A new connection over gRPC.
    pub fn connect(&self) -> anyhow::Result<Transport> {
        connect(&[format!("http://{}", self.grpc)], None)
    }

    /// A page of the operators' listener.
    pub async fn operators_page(&self, path: &str) -> anyhow::Result<String> {
        let response = self.http.get(format!("http://{}{path}", self.admin)).send().await?;
        response.error_for_status()?.text().await.context("an operators' page")
    }
}

fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

fn new_user(issuer: &TokenIssuer, tenant: Uuid) -> anyhow::Result<User> {
    let id = Uuid::new_v4().to_string();
    let scopes = ["PrintJob.ReadWrite.All", "Printer.Read.All"].map(str::to_owned).into();
    let token = issuer.issue(tenant, &Subject::User { oid: id.clone(), scopes }, TOKEN_LIFETIME)?;
    Ok(User { id, token })
}

/// The printers of a tenant have the same ids as those of the other ones.
pub fn catalog_of(tenant: Uuid, revision: i64) -> Catalog {
    let printer = |number| proto::Printer { name: format!("tenants/{tenant}/printers/printer-{number}"), revision };
    let share =
        proto::PrinterShare { name: format!("tenants/{tenant}/shares/share-0"), printer: "printer-0".into(), revision };
    Catalog {
        tenants: vec![proto::Tenant { name: format!("tenants/{tenant}"), subscription_active: true, revision }],
        printers: (0..PRINTERS).map(printer).collect(),
        shares: vec![share],
        ..Catalog::default()
    }
}

pub fn any_printer(rng: &mut Rng) -> String {
    let number = if rng.usize(..10) < ON_BUSY_PRINTER { 0 } else { rng.usize(1..PRINTERS) };
    format!("printer-{number}")
}
