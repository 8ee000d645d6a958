//! SUBSCRIBE and UNSUBSCRIBE.

use forebay_core::QoS;
use rumqttd::protocol::{
    Filter, Packet, RetainForwardRule, SubAck, SubscribeReasonCode, UnsubAck, UnsubAckReason,
};

use super::Connection;
use crate::metrics::Limit;
use crate::reserved::{is_shared, may_subscribe};
use crate::retained::RetainedScan;
use crate::subscriptions::SubscriptionOptions;
use crate::worker::Worker;

impl Connection {
    pub(super) fn subscribe(
        &mut self,
        worker: &mut Worker,
        pkid: u16,
        filters: Vec<Filter>,
        identifier: bool,
    ) {
        let mut codes = Vec::with_capacity(filters.len());
        let mut accepted: Vec<(String, SubscriptionOptions)> = Vec::new();
        let mut scans = Vec::new();
        for (index, filter) in filters.into_iter().enumerate() {
            let code = self.judge_filter(worker, &filter, index, identifier);
            worker.tally.subscribed(code.is_ok());
            codes.push(match code {
                Ok(granted) => {
                    let options = SubscriptionOptions {
                        qos: granted,
                        no_local: filter.nolocal,
                        retain_as_published: filter.preserve_retain,
                    };
                    let is_new = self.remember(&filter.path, options);
                    let wanted = match filter.retain_forward_rule {
                        RetainForwardRule::OnEverySubscribe => true,
                        RetainForwardRule::OnNewSubscribe => is_new,
                        RetainForwardRule::Never => false,
                    };
                    if wanted {
                        scans.push((RetainedScan::new(&filter.path), granted));
                    }
                    accepted.push((filter.path, options));
                    granted_code(granted)
                }
                Err(code) => code,
            });
        }
        if !accepted.is_empty() {
            let entries = accepted
                .iter()
                .map(|(filter, options)| (filter.as_str(), *options));
            self.shared.subscriptions.subscribe(self.key, entries);
        }
        let ack = SubAck {
            pkid,
            return_codes: codes,
        };
        // Before anything that the subscription brings: deliveries are written after the packets of this turn.
        self.send(worker, Packet::SubAck(ack, None));
        if let Some(session) = &mut self.session {
            for scan in scans {
                // A scan that has not come to its end starts again, so there is at most one per subscription.
                session
                    .scans
                    .retain(|(other, _)| other.filter() != scan.0.filter());
                session.scans.push_back(scan);
            }
        }
    }

    /// The QoS that a filter is granted, or why it is refused.
    fn judge_filter(
        &self,
        worker: &mut Worker,
        filter: &Filter,
        index: usize,
        identifier: bool,
    ) -> Result<QoS, SubscribeReasonCode> {
        let limits = &self.listener.config.limits;
        if identifier {
            return Err(SubscribeReasonCode::SubscriptionIdNotSupported);
        }
        if index >= limits.filters_per_subscribe {
            worker.tally.limit(Limit::Filters);
            return Err(SubscribeReasonCode::QuotaExceeded);
        }
        if is_shared(&filter.path) {
            return Err(SubscribeReasonCode::SharedSubscriptionsNotSupported);
        }
        if forebay_core::topic::validate_filter(&filter.path, limits.topic).is_err() {
            return Err(SubscribeReasonCode::TopicFilterInvalid);
        }
        if !may_subscribe(&filter.path) {
            return Err(SubscribeReasonCode::NotAuthorized);
        }
        let session = self
            .session
            .as_ref()
            .ok_or(SubscribeReasonCode::Unspecified)?;
        let is_new = !session.subscriptions.contains_key(filter.path.as_str());
        if is_new && session.subscriptions.len() >= limits.subscriptions_per_client {
            worker.tally.limit(Limit::Subscriptions);
            return Err(SubscribeReasonCode::QuotaExceeded);
        }
        QoS::from_level(filter.qos as u8).ok_or(SubscribeReasonCode::Unspecified)
    }

    /// Keeps a subscription with the session. True when it is new.
    fn remember(&mut self, filter: &str, options: SubscriptionOptions) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        session
            .subscriptions
            .insert(Box::from(filter), options)
            .is_none()
    }

    pub(super) fn unsubscribe(&mut self, worker: &mut Worker, pkid: u16, filters: &[String]) {
        let Some(session) = &mut self.session else {
            return;
        };
        let mut reasons = Vec::with_capacity(filters.len());
        let mut removed = Vec::new();
        for filter in filters {
            if session.subscriptions.remove(filter.as_str()).is_some() {
                session.scans.retain(|(scan, _)| scan.filter() != filter);
                removed.push(filter.as_str());
                reasons.push(UnsubAckReason::Success);
            } else {
                reasons.push(UnsubAckReason::NoSubscriptionExisted);
            }
        }
        if !removed.is_empty() {
            // Only what the session had: another text, valid as a filter or not, may name no subscription of it.
            self.shared
                .subscriptions
                .unsubscribe(self.key, removed.into_iter());
        }
        self.send(worker, Packet::UnsubAck(UnsubAck { pkid, reasons }, None));
    }
}

fn granted_code(qos: QoS) -> SubscribeReasonCode {
    match qos {
        QoS::AtMostOnce => SubscribeReasonCode::QoS0,
        QoS::AtLeastOnce => SubscribeReasonCode::QoS1,
        QoS::ExactlyOnce => SubscribeReasonCode::QoS2,
    }
}
