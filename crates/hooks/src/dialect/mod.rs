//! Foreign contracts for receiving webhooks.

pub mod flux_recv;
