//! A synchronous WebSocket broadcast server.
