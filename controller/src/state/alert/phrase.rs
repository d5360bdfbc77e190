//! What is wrong with what, in a line, in English and Chinese.

use trireme_proto::model::Language;

use super::Incident;

/// Returns what is wrong, in a line.
pub fn summary(language: Language, incident: &Incident) -> String {
    if let Some(own) = &incident.summary {
        return own.clone();
    }
    let subject = &incident.subject;
    let region = subject.region.as_ref().map_or("", |one| one.as_str());
    let node = subject.node.as_ref().map_or("", |one| one.as_str());
    let service = subject.service.as_ref().map_or("", |one| one.as_str());
    let check = subject.check.as_deref().unwrap_or_default();
    let object = subject.object.as_deref().unwrap_or_default();
    match language {
        Language::En => match incident.what.as_str() {
            "region-not-serving" => format!("region {region} serves nothing"),
            "service-below" => format!("service {service} is below its number of regions"),
            "service-at-risk" => format!("service {service} is one region from falling short"),
            "service-not-serving" => format!("service {service} does not run on node {node}"),
            "node-silent" => format!("node {node} is silent"),
            "upgrade-failed" => format!("the upgrade of {service} needs a person"),
            "upgrade-rolled-back" => format!("the upgrade of {service} goes back"),
            "grant-overdue" => format!("{object} is overdue"),
            "controller-silent" => format!("{object} is silent"),
            "certificate-expiring" => format!("the certificate of node {node} was not renewed"),
            "channel-failing" => format!("alerts do not arrive through {object}"),
            "checklist-overdue" => format!("nobody has looked at {object}"),
            "watchdog" => "alerts arrive".to_owned(),
            "check" => format!("check {check} of {service} fails on node {node}"),
            "metric" => format!("a number of check {check} is out of bounds on node {node}"),
            "absent" => format!("a number of check {check} of {service} is missing"),
            "ready" => format!("too few nodes serve {service}"),
            other => other.to_owned(),
        },
        Language::Zh => match incident.what.as_str() {
            "region-not-serving" => format!("区域 {region} 全部服务不可用"),
            "service-below" => format!("服务 {service} 可用区域数低于要求"),
            "service-at-risk" => format!("服务 {service} 再失去一个区域将低于要求"),
            "service-not-serving" => format!("服务 {service} 未在节点 {node} 运行"),
            "node-silent" => format!("节点 {node} 失联"),
            "upgrade-failed" => format!("服务 {service} 的升级需要人工处理"),
            "upgrade-rolled-back" => format!("服务 {service} 的升级正在或已经回退"),
            "grant-overdue" => format!("{object} 超时未归还"),
            "controller-silent" => format!("{object} 无响应"),
            "certificate-expiring" => format!("节点 {node} 的证书未续期"),
            "channel-failing" => format!("告警无法经 {object} 送达"),
            "checklist-overdue" => format!("{object} 逾期未检查"),
            "watchdog" => "告警通道正常".to_owned(),
            "check" => format!("节点 {node} 上服务 {service} 的检查 {check} 失败"),
            "metric" => format!("节点 {node} 上检查 {check} 的数值越界"),
            "absent" => format!("服务 {service} 的检查 {check} 没有新数值"),
            "ready" => format!("可用 {service} 的节点过少"),
            other => other.to_owned(),
        },
    }
}
