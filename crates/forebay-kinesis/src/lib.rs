//! kinesis
