//! The errors of the API, as documented: status, code, message, and the body that carries them.

use bytes::Bytes;
use serde_json::json;

use super::answer::Answer;
use super::settings::Dialect;

/// Code and message of a status, where nothing more is known.
pub(crate) fn documented(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => (
            "bad.request",
            "The request could not be understood by the server due to malformed syntax.",
        ),
        401 => ("bad.credentials", "Invalid login credentials."),
        403 => (
            "missing.permissions",
            "Unable to perform the requested action. You are missing permission(s).",
        ),
        404 => ("not.found", "The requested resource was not found."),
        405 => ("method.not.allowed", "The method is not allowed for this resource."),
        408 => (
            "request.timeout",
            "The client did not produce a request within the server timeout limit.",
        ),
        409 => (
            "general.conflict",
            "The request conflicts with the current state of the resource.",
        ),
        410 => ("gone", "The requested resource is no longer available."),
        413 => (
            "request.entity.too.large",
            "The request is over the size limit. Maximum bytes: 512000",
        ),
        415 => (
            "unsupported.media.type",
            "Unsupported Media Type - Unsupported or incorrect media type.",
        ),
        422 => ("invalid.value", "The inputs do not match the flow's definition."),
        425 => ("too.early", "The server is not yet willing to process the request."),
        429 => ("too.many.requests", "Rate limit exceeded the maximum."),
        500 => (
            "internal.server.error",
            "The server encountered an unexpected condition.",
        ),
        502 => (
            "bad.gateway",
            "The gateway got an invalid answer from the service behind it.",
        ),
        503 => (
            "service.unavailable",
            "Service Unavailable - The server is currently unavailable.",
        ),
        504 => ("request.timeout", "The request timed out."),
        501 | 505.. => ("internal.server.error", "The server could not answer the request."),
        _ => ("bad.request", "The request was not accepted."),
    }
}

/// A documented error.
pub(crate) fn error(dialect: Dialect, status: u16) -> Answer {
    let (code, message) = documented(status);
    error_saying(dialect, status, code, message)
}

/// An error in the API's own shape. The vendor's names a context that support asks for; the user's documents know none.
pub(crate) fn error_saying(dialect: Dialect, status: u16, code: &str, message: &str) -> Answer {
    match dialect {
        Dialect::User => Answer::json(status, &json!({ "status": status, "code": code, "message": message })),
        Dialect::Vendor => {
            let context = uuid::Uuid::new_v4().to_string();
            let body = json!({
                "message": message, "code": code, "status": status, "contextId": context,
                "details": [], "errors": [], "messageParams": {},
            });
            Answer::json(status, &body).correlated(context)
        }
    }
}

/// Another page in the place of the API's: what a proxy says when it cannot reach it.
pub(crate) fn html_page(status: u16) -> Answer {
    let page = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
    );
    Answer::new(status, "text/html", Bytes::from(page))
}

/// An error of the token endpoint. Its text stands under another name in each description.
pub(crate) fn token_error(dialect: Dialect, status: u16, error: &str, text: &str) -> Answer {
    let key = match dialect {
        Dialect::User => "error_description",
        Dialect::Vendor => "description",
    };
    Answer::json(status, &json!({ "error": error, key: text }))
}
