//! The language, sentence by sentence of the AWS IoT developer guide, where the conformance cases do not look.

mod bed;
mod functions;
mod grammar;
mod select;
mod values;
