// Where schemas.mjs finds Slack's types.
import type { BlockAction } from "@slack/bolt";

export type * from "@slack/types";
export type * from "@slack/web-api";
// Named, since Bolt hands on the types of the other two as well.
export type { GlobalShortcut, MessageShortcut, SlashCommand, ViewClosedAction, ViewSubmitAction } from "@slack/bolt";
// A type with a parameter can't be asked for by its name.
export type AnyBlockAction = BlockAction;
