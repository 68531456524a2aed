//! Reads what a client sends, and what a server answers, by Lemmy's own types, and writes it as they do.
//!
//! A line in: {"type": "v3.Search", "form": "query" or "json", "text": ...}. A line out: {"read": ...} or {"refused": why}.
use lemmy_api_common as v3;
use lemmy_api_common_1 as v4;
use serde::{de::DeserializeOwned, Deserialize, Serialize};
use serde_json::{json, Value};
use std::io::{stdin, BufRead};

#[derive(Deserialize)]
struct Asked {
    r#type: String,
    form: String,
    text: String,
}

fn read<T: DeserializeOwned + Serialize>(asked: &Asked) -> Result<Value, String> {
    let read: T = match asked.form.as_str() {
        "query" => serde_urlencoded::from_str(&asked.text).map_err(|e| e.to_string())?,
        _ => serde_json::from_str(&asked.text).map_err(|e| e.to_string())?,
    };
    serde_json::to_value(read).map_err(|e| e.to_string())
}

macro_rules! types {
    ($asked:expr, $($name:literal => $type:ty),+ $(,)?) => {
        match $asked.r#type.as_str() { $($name => read::<$type>($asked),)+ _ => Err("no such type here".into()) }
    };
}

fn answer(asked: &Asked) -> Result<Value, String> {
    types!(asked,
        "v3.GetSiteResponse" => v3::site::GetSiteResponse,
        "v3.ListMedia" => v3::person::ListMedia,
        "v3.ListMediaResponse" => v3::person::ListMediaResponse,
        "v3.Search" => v3::site::Search,
        "v3.SearchResponse" => v3::site::SearchResponse,
        "v3.PurgePost" => v3::site::PurgePost,
        "v3.PurgeComment" => v3::site::PurgeComment,
        "v3.RemovePost" => v3::post::RemovePost,
        "v3.RemoveComment" => v3::comment::RemoveComment,
        "v3.CreatePostReport" => v3::post::CreatePostReport,
        "v3.CreateCommentReport" => v3::comment::CreateCommentReport,
        "v3.BanPerson" => v3::person::BanPerson,
        "v3.GetPost" => v3::post::GetPost,
        "v3.GetPostResponse" => v3::post::GetPostResponse,
        "v3.PostResponse" => v3::post::PostResponse,
        "v3.CommentResponse" => v3::comment::CommentResponse,
        "v3.PostReportResponse" => v3::post::PostReportResponse,
        "v3.CommentReportResponse" => v3::comment::CommentReportResponse,
        "v3.BanPersonResponse" => v3::person::BanPersonResponse,
        "v3.GetPersonDetails" => v3::person::GetPersonDetails,
        "v3.GetPersonDetailsResponse" => v3::person::GetPersonDetailsResponse,
        "v3.SuccessResponse" => v3::SuccessResponse,
        "v4.GetSiteResponse" => v4::site::GetSiteResponse,
        "v4.ListMedia" => v4::media::ListMedia,
        "v4.ListMediaResponse" => v4::PagedResponse<v4::media::LocalImageView>,
        "v4.DeleteImageParams" => v4::media::DeleteImageParams,
        "v4.Search" => v4::site::administration::Search,
        "v4.SearchResponse" => v4::site::administration::SearchResponse,
        "v4.PurgePost" => v4::post::actions::moderation::PurgePost,
        "v4.PurgeComment" => v4::comment::actions::moderation::PurgeComment,
        "v4.RemovePost" => v4::post::actions::moderation::RemovePost,
        "v4.RemoveComment" => v4::comment::actions::moderation::RemoveComment,
        "v4.CreatePostReport" => v4::report::CreatePostReport,
        "v4.CreateCommentReport" => v4::report::CreateCommentReport,
        "v4.BanPerson" => v4::person::actions::moderation::BanPerson,
        "v4.GetPost" => v4::post::GetPost,
        "v4.GetPostResponse" => v4::post::GetPostResponse,
        "v4.PostResponse" => v4::post::PostResponse,
        "v4.CommentResponse" => v4::comment::CommentResponse,
        "v4.PostReportResponse" => v4::report::PostReportResponse,
        "v4.CommentReportResponse" => v4::report::CommentReportResponse,
        "v4.PersonResponse" => v4::person::PersonResponse,
        "v4.GetPersonDetails" => v4::person::GetPersonDetails,
        "v4.GetPersonDetailsResponse" => v4::person::GetPersonDetailsResponse,
        "v4.SuccessResponse" => v4::SuccessResponse,
    )
}

fn main() {
    for line in stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line.expect("a line")).expect("a question");
        println!("{}", answer(&asked).map_or_else(|why| json!({"refused": why}), |value| json!({"read": value})));
    }
}
