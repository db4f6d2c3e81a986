//! Two replicas, each a process of its own. They share the database and the store, and nothing else.

mod notifications;
