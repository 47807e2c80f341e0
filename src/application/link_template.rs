//! The address of the page that a link leads to, as the operator sets it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// Where the token of a link goes.
const TOKEN: &str = "{token}";
/// Where the organization's id goes.
const ORGANIZATION: &str = "{organization}";
/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1_024;

/// An address with places for the token and the organization, such as
/// `https://app.example.com/join?organization={organization}&token={token}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTemplate(String);

/// Why a text is no template of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkTemplateError {
    /// It is too long.
    #[error("must be at most {MAX_TEMPLATE_BYTES} bytes")]
    TooLong,
    /// The token is nowhere in it.
    #[error("must contain `{{token}}` once")]
    NoToken,
    /// It has braces around something else.
    #[error("may have `{{token}}` and `{{organization}}` in braces, and nothing else")]
    Placeholder,
    /// The placeholders are where they would decide who gets the token.
    #[error("must have its placeholders after the host")]
    PlaceholderInHost,
    /// It is no address of a page.
    #[error("must be an `https://` address, or an `http://` one on this machine")]
    NotHttps,
}

impl FromStr for LinkTemplate {
    type Err = LinkTemplateError;

    fn from_str(text: &str) -> Result<Self, LinkTemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(LinkTemplateError::TooLong);
        }
        if text.matches(TOKEN).count() != 1 {
            return Err(LinkTemplateError::NoToken);
        }
        if text
            .replace(TOKEN, "")
            .replace(ORGANIZATION, "")
            .contains(['{', '}'])
        {
            return Err(LinkTemplateError::Placeholder);
        }
        // A fragment is no part of what `Uri` reads, and has no say in who gets it.
        let filled = filled(text, "o", "t").replacen('#', "/", 1);
        let uri: Uri = filled.parse().map_err(|_| LinkTemplateError::NotHttps)?;
        if !is_safe(&uri) {
            return Err(LinkTemplateError::NotHttps);
        }
        let authority = text.split_once("://").map_or("", |(_, rest)| {
            rest.split(['/', '?', '#']).next().unwrap_or_default()
        });
        if authority.contains('{') {
            return Err(LinkTemplateError::PlaceholderInHost);
        }
        Ok(Self(text.to_owned()))
    }
}

impl LinkTemplate {
    /// The link of a token.
    pub fn link(&self, organization: &str, token: &str) -> String {
        filled(&self.0, &escaped(organization), &escaped(token))
    }
}

impl fmt::Display for LinkTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether what is sent there is read by nobody on the way: by TLS, or because it does
/// not leave the machine. Neither may it hold a name or password.
pub fn is_safe(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default();
    let safe = match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback(host),
        _ => false,
    };
    safe && !authority.contains('@')
}

/// Whether a host is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn filled(template: &str, organization: &str, token: &str) -> String {
    // The token goes in last, and what it holds is read no more.
    template
        .replace(ORGANIZATION, organization)
        .replace(TOKEN, token)
}

/// Percent-encoded: only what RFC 3986 calls unreserved stays as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_the_token_and_whatever_the_organization_is_called_as_data() {
        let template: LinkTemplate =
            "https://app.example.com/join?organization={organization}&token={token}"
                .parse()
                .expect("a template");
        assert_eq!(
            template.link("acme&token=evil#{token}", "roster_link_a-b_c.d"),
            "https://app.example.com/join?organization=acme%26token%3Devil%23%7Btoken%7D\
             &token=roster_link_a-b_c.d"
        );
    }

    #[test]
    fn a_template_leads_to_a_page_of_the_product_and_nowhere_else() {
        use LinkTemplateError as E;
        let verdict = |text: &str| text.parse::<LinkTemplate>().map(|_| ());
        for good in [
            "https://a.example/{token}",
            "https://a.example:8443/{organization}/{token}?x=1",
            "https://a.example/join#token={token}",
            "http://localhost:3000/join?t={token}",
            "http://127.0.0.1/{token}",
            "http://[::1]:80/{token}",
        ] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("https://a.example/join", E::NoToken),
            ("https://a.example/{token}/{token}", E::NoToken),
            ("https://a.example/{token}{user}", E::Placeholder),
            ("https://a.example/{token}}", E::Placeholder),
            ("http://a.example/{token}", E::NotHttps),
            ("http://localhost.evil.example/{token}", E::NotHttps),
            ("ftp://a.example/{token}", E::NotHttps),
            ("https://user:secret@a.example/{token}", E::NotHttps),
            ("a.example/{token}", E::NotHttps),
            ("{token}", E::NotHttps),
            ("https://a.example/ {token}", E::NotHttps),
            (
                "https://{organization}.a.example/{token}",
                E::PlaceholderInHost,
            ),
            ("https://{token}/", E::PlaceholderInHost),
        ] {
            assert_eq!(verdict(bad), Err(why), "{bad}");
        }
    }
}
