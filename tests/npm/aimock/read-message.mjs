// Streams one message from a Messages API with Anthropic's own client, and prints what that client made of the events:
// { streamed: the message put together from the stream, plain: the message without streaming, error: of a bad request }.
import Anthropic, { APIError } from "@anthropic-ai/sdk";

const client = new Anthropic({ maxRetries: 0, timeout: 10_000 }); // address and key come from the environment
const request = JSON.parse(process.argv[2]);
const streamed = await client.messages.stream(request).finalMessage();
const plain = await client.messages.create(request);
const error = await client.messages.create({ ...request, messages: [] }).catch((caught) => {
  if (!(caught instanceof APIError)) throw caught;
  return { class: caught.constructor.name, status: caught.status, type: caught.type, id: caught.requestID };
});
console.log(JSON.stringify({ streamed, plain, error }));
