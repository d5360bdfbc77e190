//! One method per RPC that answers with one document.

use serde::de::DeserializeOwned;
use serde_json::Value;
use trireme_proto::audit::Checkpoint;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::alert::{IncidentView, SilenceView};
use trireme_proto::view::approval::ReviewsView;
use trireme_proto::view::look::{StatusView, UseView};
use trireme_proto::view::people::{UserTokenView, UsersView};
use trireme_proto::view::status::FleetStatusView;
use trireme_proto::view::{
    Applied, AuditEntry, ControllersView, FreezeView, GrantView, List, NodeView, NoteView,
    OverrideView, PlanView, TokenView, UpgradeView, WhyView,
};
use trireme_proto::wire::alerts_client::AlertsClient;
use trireme_proto::wire::approval_client::ApprovalClient;
use trireme_proto::wire::audit_client::AuditClient;
use trireme_proto::wire::checklists_client::ChecklistsClient;
use trireme_proto::wire::controllers_client::ControllersClient;
use trireme_proto::wire::operations_client::OperationsClient;
use trireme_proto::wire::operator_client::OperatorClient;
use trireme_proto::wire::people_client::PeopleClient;
use trireme_proto::wire::queries_client::QueriesClient;
use trireme_proto::wire::{self, Consistency, Document};

use super::{Client, DOCUMENT_LEN_MAX, Door, Patience};
use crate::error::{Failure, caused};

/// A document: as a value, and as the JSON it came as, with fields that we may not know yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<T> {
    /// What it says.
    pub value: T,
    /// What is printed with `--json`.
    pub json: Value,
    /// Applied index that it shows.
    pub index: u64,
    /// Time since the answering controller last heard from a leader.
    pub age: Span,
    /// Controller that answered.
    pub controller: String,
    /// Whether it may be older than what the fleet has agreed on.
    pub stale: bool,
}

impl<T: DeserializeOwned> Reply<T> {
    /// Reads a document.
    pub(super) fn read(document: &Document) -> Result<Self, Problem> {
        let unreadable = |error: serde_json::Error| {
            let from = &document.controller;
            let message = format!("controller {from} answered with a document of another shape");
            caused(Problem::new(Code::Failed, message), &error).hint(
                "it may be of another version: compare `trictl version` with the controller's",
            )
        };
        let json: Value = serde_json::from_slice(&document.json).map_err(unreadable)?;
        Ok(Self {
            value: serde_json::from_value(json.clone()).map_err(unreadable)?,
            json,
            index: document.index,
            age: Span(document.age_ms),
            controller: document.controller.clone(),
            stale: document.consistency() == Consistency::Stale,
        })
    }
}

/// Methods of the client, each an RPC of the service that this stub is of.
macro_rules! rpcs {
    ($stub:ident: $($(#[$doc:meta])* $name:ident($request:ident) -> $view:ty;)*) => {
        impl Client {$(
            $(#[$doc])*
            pub async fn $name(&self, request: wire::$request) -> Result<Reply<$view>, Failure> {
                self.document(async |door| {
                    $stub::new(door)
                        .max_decoding_message_size(DOCUMENT_LEN_MAX)
                        .$name(request.clone())
                        .await
                })
                .await
            }
        )*}
    };
}

/// The same where what is answered depends on what was asked.
macro_rules! rpcs_of_any {
    ($stub:ident: $($(#[$doc:meta])* $name:ident($request:ident);)*) => {
        impl Client {$(
            $(#[$doc])*
            pub async fn $name<T: DeserializeOwned>(
                &self,
                request: wire::$request,
            ) -> Result<Reply<T>, Failure> {
                self.document(async |door| {
                    $stub::new(door)
                        .max_decoding_message_size(DOCUMENT_LEN_MAX)
                        .$name(request.clone())
                        .await
                })
                .await
            }
        )*}
    };
}

rpcs! { OperatorClient:
    /// Declares objects.
    apply(ApplyRequest) -> Applied;
    /// Plans an upgrade and changes nothing.
    plan_upgrade(PlanUpgradeRequest) -> PlanView;
    /// Stops an upgrade from going on.
    pause_upgrade(UpgradeRequest) -> UpgradeView;
    /// Lets a paused upgrade go on.
    resume_upgrade(UpgradeRequest) -> UpgradeView;
    /// Ends an upgrade where it is.
    abort_upgrade(UpgradeRequest) -> UpgradeView;
    /// Takes an upgrade back.
    rollback_upgrade(UpgradeRequest) -> UpgradeView;
    /// Asks why an object is as it is.
    why(WhyRequest) -> WhyView;
    /// Releases a grant by hand.
    release_grant(ReleaseGrantRequest) -> GrantView;
    /// Removes a node for ever.
    remove_node(RemoveNodeRequest) -> NodeView;
    /// Leaves a note on an object.
    note(NoteRequest) -> NoteView;
    /// Makes a token that lets one node in.
    create_token(CreateTokenRequest) -> TokenView;
    /// Lists the controllers.
    controllers(ControllersRequest) -> ControllersView;
    /// Hands the lead to another controller.
    transfer_leader(TransferLeaderRequest) -> ControllersView;
    /// Lists part of the audit log.
    list_audit(ListAuditRequest) -> List<AuditEntry>;
}

rpcs! { ControllersClient:
    /// Takes one more controller into the group.
    add_controller(ChangeControllerRequest) -> ControllersView;
    /// Sends a controller away for ever.
    remove_controller(ChangeControllerRequest) -> ControllersView;
    /// Has another controller take the place of one.
    replace_controller(ChangeControllerRequest) -> ControllersView;
    /// Takes a controller back whose disk was emptied.
    repair_controller(ChangeControllerRequest) -> ControllersView;
}

rpcs! { OperationsClient:
    /// Lets nobody take anything new.
    freeze(FreezeRequest) -> FreezeView;
    /// Ends a freeze.
    thaw(FreezeRequest) -> FreezeView;
    /// Ends an exception before its time; answers with those left.
    end_override(EndOverrideRequest) -> List<OverrideView>;
}

rpcs! { AlertsClient:
    /// Takes a rule or a channel out of the manifests.
    delete(DeleteRequest) -> Applied;
    /// Says that somebody looks after an incident.
    acknowledge(AcknowledgeRequest) -> IncidentView;
    /// Ends a silence.
    unsilence(UnsilenceRequest) -> SilenceView;
}

rpcs_of_any! { AlertsClient:
    /// Keeps alerts from being told for a while; a dry run is answered with what would be.
    silence(SilenceRequest);
    /// Sends a message that only shows that a channel works; a dry run sends none.
    test_channel(TestChannelRequest);
}

rpcs! { PeopleClient:
    /// Lists people.
    list_users(ListUsersRequest) -> UsersView;
    /// Lets a person in.
    add_user(UserRequest) -> UsersView;
    /// Gives roles.
    grant_user(UserRequest) -> UsersView;
    /// Takes roles away.
    revoke_user(UserRequest) -> UsersView;
    /// Lets a person do nothing for now.
    disable_user(UserRequest) -> UsersView;
    /// Ends that.
    enable_user(UserRequest) -> UsersView;
    /// Takes everything from a person.
    remove_user(UserRequest) -> UsersView;
    /// Says from where people may ask.
    limit_user(UserRequest) -> UsersView;
    /// Makes a one-time token to log in with.
    create_user_token(UserRequest) -> UserTokenView;
}

rpcs! { ApprovalClient:
    /// Agrees to a plan.
    approve_plan(ApprovePlanRequest) -> ReviewsView;
    /// Lists approvals and reviews.
    list_reviews(ListReviewsRequest) -> ReviewsView;
    /// Records that somebody has looked.
    review(ReviewRequest) -> ReviewsView;
}

rpcs! { AuditClient:
    /// Searches the audit log.
    search(SearchAuditRequest) -> List<AuditEntry>;
    /// Takes what the answering controller has signed of it.
    checkpoints(CheckpointsRequest) -> List<Checkpoint>;
}

rpcs! { QueriesClient:
    /// Looks how a service stands on its nodes.
    service_status(ServiceLookRequest) -> StatusView;
    /// Looks what a service uses of its nodes.
    service_top(ServiceLookRequest) -> UseView;
    /// Looks at the fleet on one screen.
    fleet_status(FleetStatusRequest) -> FleetStatusView;
}

/// Of checklists; `run` and `answer` say too little beside the methods of others.
impl Client {
    /// Has a checklist looked up; a dry run is answered with how it would stand.
    pub async fn run_checklist<T: DeserializeOwned>(
        &self,
        request: wire::RunChecklistRequest,
    ) -> Result<Reply<T>, Failure> {
        self.document(async |door| ChecklistsClient::new(door).run(request.clone()).await).await
    }

    /// Answers an item, in the role of one who reviews or of one who operates.
    pub async fn answer_item<T: DeserializeOwned>(
        &self,
        request: wire::AnswerItemRequest,
        review: bool,
    ) -> Result<Reply<T>, Failure> {
        self.document(async |door| {
            let mut client = ChecklistsClient::new(door);
            if review {
                client.answer_review(request.clone()).await
            } else {
                client.answer(request.clone()).await
            }
        })
        .await
    }

    /// Ends a run of a checklist.
    pub async fn close_checklist<T: DeserializeOwned>(
        &self,
        request: wire::CloseChecklistRequest,
    ) -> Result<Reply<T>, Failure> {
        self.document(async |door| ChecklistsClient::new(door).close(request.clone()).await).await
    }
}

rpcs_of_any! { OperatorClient:
    /// Reads objects; which view it is depends on the kind asked for.
    get(GetRequest);
    /// Starts an upgrade as planned; a dry run is answered with the plan.
    start_upgrade(StartUpgradeRequest);
}

rpcs_of_any! { OperationsClient:
    /// Restarts, stops or starts a service; a dry run is answered with the plan.
    operate(OperateRequest);
    /// Keeps clients away from a place.
    drain(PlaceRequest);
    /// Lets clients and work come to a place again.
    r#return(PlaceRequest);
    /// Has new work pass a node by.
    cordon(PlaceRequest);
    /// Sets rules of the ledger aside for a time.
    r#override(OverrideRequest);
}

impl Client {
    async fn document<T: DeserializeOwned>(
        &self,
        call: impl AsyncFn(Door) -> Result<tonic::Response<Document>, tonic::Status>,
    ) -> Result<Reply<T>, Failure> {
        let (document, address) = self.ask(Patience::Rounds, call).await?;
        self.learn(&document);
        let mut reply = Reply::read(&document)?;
        if reply.controller.is_empty() {
            reply.controller = address;
        }
        Ok(reply)
    }
}
