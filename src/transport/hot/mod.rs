//! Checks, answered on the thread that reads them.
//!
//! An ordinary check is read in place, decided and written without a router, an
//! interceptor, a task of its own or an allocation for its texts. Whatever is out of
//! the ordinary goes to the generated service, which answers everything: this folder
//! only ever answers sooner, never otherwise.

pub mod answer;
pub mod batch;
pub mod decide;
pub mod request;
pub mod stream;
pub mod unary;
