//! Who asks, and what they may do. Every route is registered through [`Routes`], which takes only handlers whose first argument is
//! [`Auth`] or [`Public`], so an endpoint that forgets authorisation does not compile.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use axum::{
    Router,
    extract::FromRequestParts,
    handler::Handler,
    http::{StatusCode, Uri, request::Parts},
    response::Response,
    routing::{MethodFilter, on},
};

use super::Console;
use crate::media_in::{Role, http::problem, websocket::with_head};

/// Which roles may use an endpoint. Without tokens everybody on this machine may use every endpoint.
pub(super) trait Permission: Send + Sync + 'static {
    /// The roles.
    const ROLES: &'static [Role];
}

/// Declares a permission and its roles.
macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: $($role:ident),+;)+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl Permission for $name {
            const ROLES: &'static [Role] = &[$(Role::$role),+];
        }
    )+};
}

permissions! {
    /// Every role.
    AnyRole: Integrator, Agent, Supervisor, Auditor;
    /// Whoever runs the calls.
    Integrator: Integrator;
    /// Whoever decides about a call's transfer.
    Supervisor: Supervisor;
    /// Whoever may ask for a transfer.
    Requester: Integrator, Supervisor;
    /// Whoever takes callers over.
    Human: Agent, Supervisor;
    /// Every role that works with calls.
    Operator: Integrator, Agent, Supervisor;
    /// Whoever reads the audit.
    Auditor: Auditor;
}

/// The checked credentials of a request: its role is one of `P`'s.
pub(super) struct Auth<P> {
    /// The role. Without tokens it is the integrator's.
    pub(super) role: Role,
    permission: PhantomData<P>,
}

impl<P: Permission> FromRequestParts<Arc<Console>> for Auth<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Response> {
        let role = console.role(parts)?;
        if console.intake.gate.tokens.is_empty() || P::ROLES.contains(&role) {
            return Ok(Self { role, permission: PhantomData });
        }
        let names: Vec<&str> = P::ROLES.iter().map(|role| role.name()).collect();
        let detail = format!("this needs a token of one of these roles: {}", names.join(", "));
        Err(problem(StatusCode::FORBIDDEN, "not allowed", &detail))
    }
}

/// Marks an endpoint that everybody may use. It must not return anything of a call.
pub(super) struct Public;

impl<S: Sync> FromRequestParts<S> for Public {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

/// The arguments of a handler that begin with [`Auth`] or [`Public`].
#[diagnostic::on_unimplemented(
    message = "this handler does not check who asks",
    note = "make its first argument `Auth<…>`, or `Public` where everybody may ask"
)]
pub(super) trait Authorised {}

macro_rules! authorised {
    ($($rest:ident)*) => {
        impl<M, P: Permission, $($rest),*> Authorised for (M, Auth<P>, $($rest),*) {}
        impl<M, $($rest),*> Authorised for (M, Public, $($rest),*) {}
    };
}

authorised!();
authorised!(A);
authorised!(A B);
authorised!(A B C);
authorised!(A B C D);

/// The only way to register an endpoint.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Console>>,
    /// `get /healthz` of every endpoint, which the OpenAPI document must describe.
    registered: Vec<String>,
}

impl Routes {
    pub(super) fn get<H, T>(self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Console>>,
        T: Authorised + 'static,
    {
        self.on(("get", MethodFilter::GET), path, handler)
    }

    pub(super) fn post<H, T>(self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Console>>,
        T: Authorised + 'static,
    {
        self.on(("post", MethodFilter::POST), path, handler)
    }

    pub(super) fn delete<H, T>(self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Console>>,
        T: Authorised + 'static,
    {
        self.on(("delete", MethodFilter::DELETE), path, handler)
    }

    pub(super) fn merge(self, other: Self) -> Self {
        let registered = self.registered.into_iter().chain(other.registered).collect();
        Self { router: self.router.merge(other.router), registered }
    }

    /// `get /healthz` of every endpoint.
    #[cfg(test)]
    pub(super) fn registered(&self) -> &[String] {
        &self.registered
    }

    /// The router, once every endpoint is registered.
    pub(super) fn into_router(self) -> Router<Arc<Console>> {
        self.router
    }

    fn on<H, T>(mut self, (name, method): (&str, MethodFilter), path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Console>>,
        T: Authorised + 'static,
    {
        self.registered.push(format!("{name} {path}"));
        self.router = self.router.route(path, on(method, handler));
        self
    }
}

impl Console {
    /// The role of the request's credentials, or the 401 that answers wrong ones.
    #[allow(clippy::result_large_err, reason = "the error is the response that is sent")]
    fn role(&self, parts: &Parts) -> Result<Role, Response> {
        self.role_of(&parts.uri, &parts.headers).ok_or_else(|| {
            self.intake.unauthorised("api");
            let detail = "send Authorization: Bearer with a token of [[server.token]]";
            problem(StatusCode::UNAUTHORIZED, "wrong credentials", detail)
        })
    }

    /// The role of these credentials; `None`: they are wrong.
    pub(super) fn role_of(&self, uri: &Uri, headers: &axum::http::HeaderMap) -> Option<Role> {
        with_head(uri, headers, |head| self.intake.gate.role(head))
    }
}
