//! Who is there: the instances of each service. This registry is fixed when the process starts.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

/// One running instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The service's name, such as `gateway`.
    pub service: String,
    /// Unique among the instances of the service, over restarts too.
    pub instance_id: String,
    /// The instance's own partition of the topics that are addressed to one instance.
    pub slot: u32,
    /// Where it answers, as host:port; empty when it is only reached in this process.
    pub address: String,
}

/// The instances of every service. Clones share one list.
#[derive(Debug, Clone)]
pub struct Registry {
    services: Arc<HashMap<String, watch::Sender<Arc<[Instance]>>>>,
    nobody: watch::Sender<Arc<[Instance]>>,
}

impl Registry {
    /// A registry that never changes.
    pub fn fixed(instances: Vec<Instance>) -> Registry {
        let mut services: HashMap<String, Vec<Instance>> = HashMap::new();
        for instance in instances {
            services.entry(instance.service.clone()).or_default().push(instance);
        }
        let services =
            services.into_iter().map(|(name, list)| (name, watch::Sender::new(Arc::from(list)))).collect();
        Registry { services: Arc::new(services), nobody: watch::Sender::new(Arc::from([])) }
    }

    fn entry(&self, service: &str) -> &watch::Sender<Arc<[Instance]>> {
        self.services.get(service).unwrap_or(&self.nobody)
    }

    /// The instances of a service as known now; empty for an unknown service.
    pub fn instances(&self, service: &str) -> Arc<[Instance]> {
        self.entry(service).borrow().clone()
    }

    /// Follows the instances of a service: the receiver holds the present list and learns of every change.
    pub fn watch(&self, service: &str) -> watch::Receiver<Arc<[Instance]>> {
        self.entry(service).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_found_by_service() {
        let gateway = |id: &str, slot| Instance {
            service: "gateway".into(),
            instance_id: id.into(),
            slot,
            address: String::new(),
        };
        let registry = Registry::fixed(vec![gateway("a", 0), gateway("b", 1)]);
        assert_eq!(registry.instances("gateway").len(), 2);
        assert!(registry.instances("logic").is_empty());
        assert_eq!(registry.watch("gateway").borrow()[1].instance_id, "b");
    }
}
