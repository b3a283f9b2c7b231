// Where schemas.mjs finds Slack's types.
export type * from "@slack/types";
export type * from "@slack/web-api";
