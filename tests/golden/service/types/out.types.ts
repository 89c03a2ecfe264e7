/**
 * Types 0.1.0: Takes and gives all sorts of things.
 *
 * Generated from the contract of the service: change that, and generate it again.
 */

/** A name and a value that differ. */
export type Color = "2-blue" | "dark-red";

/** All there is. */
export interface Everything {
  /** As uuid. */
  id: string;
  /** As decimal. */
  price: string;
  /** As base64. */
  raw: string;
  pair: [number, string];
  many: Array<number>;
  unique: Array<number>;
  table: Record<string, Array<Point>>;
  color: Color;
  word: 3 | "a" | "b";
  anything: unknown;
  either: number | string | null;
  model: Model;
  struct: Struct;
  /** Default: 1. */
  level?: Level;
  /** Default: null. */
  when?: string | null;
  /** Default: null. */
  day?: string | null;
  /** Default: null. */
  span?: string | null;
  /** How "much". minimum: 0. exclusiveMaximum: 1. Default: 0.5. */
  share?: number;
  /** As decimal. Default: "1.5". */
  cost?: string;
  /** Default: "2-blue". */
  favourite?: Color;
  maybe?: number;
  /** Default: []. */
  children?: Array<Everything>;
}

/** Numbers. */
export type Level = 1 | 9;

export interface ManyThingsRequest {
  number: number;
  points: Array<Point>;
  /** Default: "dark-red". */
  color?: Color;
  /** Default: null. */
  promise?: Promise2 | null;
}

/** Of pydantic. */
export interface Model {
  name: string;
  /** Default: []. */
  parts?: Array<Part>;
  /** Default: null. */
  size?: number | null;
}

/** Of a model. */
export interface Part {
  /** Default: 1.5. */
  weight?: number;
}

/** Written as a list. */
export type Point = [number, (number)?];

/** Called like what TypeScript has. */
export interface Promise2 {
  /** Default: "says \"yes\" \\ \n". */
  text?: string;
}

/** Called like what a module needs. */
export interface Struct {
  /** Default: 1. */
  first?: number;
  /** maxLength: 3. Default: "a". */
  class_?: string;
  second: string;
}

/** How a call is made. */
export interface CallOptions {
  /** Ends the call when it is aborted. */
  signal?: AbortSignal;
  /** Milliseconds until the call is given up; 0 for never. For a stream: until it begins. */
  timeout?: number;
  headers?: Record<string, string>;
  /** Calls with the same key are done once, where the method says so. */
  idempotencyKey?: string;
}

/** Where a service is, and how it is called unless a call says otherwise. */
export interface ClientOptions {
  /** Milliseconds until a call is given up; 0 for never. */
  timeout?: number;
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
  fetch?: typeof fetch;
  /** Characters that one message of a stream may have. */
  longestMessage?: number;
}

/** What is wrong with a request, and where: `pointer` is a JSON pointer. */
export interface Violation {
  pointer: string;
  message: string;
  hint?: string;
}

/** A problem document (RFC 9457), as it is sent. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  instance?: string;
  code?: string;
  kind?: string;
  request_id?: string;
  hint?: string;
  retry_after?: number;
  errors?: Violation[];
  details?: unknown;
}

/** Why a call failed. Declared faults are classes of their own; `code` tells all of them apart. */
export class Fault extends Error {
  readonly code: string;
  readonly kind: string;
  readonly status: number;
  readonly hint: string;
  readonly requestId: string;
  /** Seconds after which to try again. */
  readonly retryAfter: number | undefined;
  readonly violations: Violation[];
  readonly details: unknown;

  constructor(problem: Problem, options?: ErrorOptions) {
    super(problem.detail ?? problem.title ?? "the call failed", options);
    this.name = new.target.name;
    this.code = problem.code ?? "unknown";
    this.kind = problem.kind ?? "UNKNOWN";
    this.status = problem.status ?? 0;
    this.hint = problem.hint ?? "";
    this.requestId = problem.request_id ?? "";
    this.retryAfter = problem.retry_after;
    this.violations = problem.errors ?? [];
    this.details = problem.details;
  }
}

type FaultClass = new (problem: Problem) => Fault;
type Declared = Record<string, FaultClass>;

const KINDS: Record<number, string> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  409: "ABORTED",
  413: "RESOURCE_EXHAUSTED",
  429: "RESOURCE_EXHAUSTED",
  499: "CANCELLED",
  501: "UNIMPLEMENTED",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};

function faultOf(problem: Problem, declared: Declared): Fault {
  const made = declared[problem.code ?? ""] ?? Fault;
  return new made(problem);
}

async function refusal(response: Response, declared: Declared): Promise<Fault> {
  let problem: Problem = {};
  try {
    const found: unknown = JSON.parse(await response.text());
    if (typeof found === "object" && found !== null) problem = found as Problem;
  } catch {
    // Whatever stands between may answer with a page; its status says enough.
  }
  const kind = KINDS[response.status] ?? (response.status >= 500 ? "INTERNAL" : "UNKNOWN");
  return faultOf({ detail: `HTTP ${response.status}`, kind, ...problem, status: response.status }, declared);
}

class Transport {
  readonly #url: string;
  readonly #options: ClientOptions;

  constructor(url: string, options: ClientOptions) {
    this.#url = url.replace(/\/+$/, "");
    this.#options = options;
  }

  async unary<R>(path: string, request: unknown, declared: Declared, options: CallOptions): Promise<R> {
    return this.#whole<R>(path, JSON.stringify(request), "application/json", declared, options);
  }

  /** Sends all messages at once, when the last one is known. */
  async gathered<R>(
    path: string,
    requests: AsyncIterable<unknown> | Iterable<unknown>,
    declared: Declared,
    options: CallOptions,
  ): Promise<R> {
    return this.#whole<R>(path, await lines(requests), "application/x-ndjson", declared, options);
  }

  async *stream<R>(path: string, request: unknown, declared: Declared, options: CallOptions): AsyncGenerator<R> {
    yield* this.#events<R>(path, JSON.stringify(request), "application/json", declared, options);
  }

  /** Sends all messages at once, when the last one is known, and then gives the answers as they come. */
  async *both<R>(
    path: string,
    requests: AsyncIterable<unknown> | Iterable<unknown>,
    declared: Declared,
    options: CallOptions,
  ): AsyncGenerator<R> {
    yield* this.#events<R>(path, await lines(requests), "application/x-ndjson", declared, options);
  }

  async #whole<R>(path: string, body: string, type: string, declared: Declared, options: CallOptions): Promise<R> {
    const call = new Running(options, this.#options);
    try {
      const response = await this.#post(call, path, body, type, "application/json", options);
      if (!response.ok) throw await refusal(response, declared);
      if (response.status === 204) return undefined as R;
      return (await response.json()) as R;
    } catch (error) {
      throw call.explained(error);
    } finally {
      call.done();
    }
  }

  async *#events<R>(
    path: string,
    body: string,
    type: string,
    declared: Declared,
    options: CallOptions,
  ): AsyncGenerator<R> {
    const call = new Running(options, this.#options);
    try {
      const response = await this.#post(call, path, body, type, "text/event-stream", options);
      call.begun();
      if (!response.ok) throw await refusal(response, declared);
      for await (const event of events(response, this.#options.longestMessage ?? 4_194_304)) {
        if (event.name === "next") yield JSON.parse(event.data) as R;
        else if (event.name === "end") return;
        else if (event.name === "error") throw faultOf(JSON.parse(event.data) as Problem, declared);
      }
      throw new Fault({ detail: "the stream broke off", code: "connection_lost", kind: "UNAVAILABLE" });
    } catch (error) {
      throw call.explained(error);
    } finally {
      call.abandon();
    }
  }

  async #post(
    call: Running,
    path: string,
    body: string,
    type: string,
    accept: string,
    options: CallOptions,
  ): Promise<Response> {
    const given = this.#options.headers;
    const headers = new Headers(typeof given === "function" ? await given() : given);
    for (const [name, value] of Object.entries(options.headers ?? {})) headers.set(name, value);
    headers.set("content-type", type);
    headers.set("accept", accept === "application/json" ? accept : `${accept}, application/problem+json`);
    if (options.idempotencyKey !== undefined) headers.set("idempotency-key", options.idempotencyKey);
    if (call.timeout > 0 && accept === "application/json") headers.set("x-request-timeout-ms", String(call.timeout));
    const send = this.#options.fetch ?? fetch;
    return send(`${this.#url}${path}`, { method: "POST", headers, body, signal: call.signal });
  }
}

/** One call on its way: its time, and what ends it. */
class Running {
  readonly timeout: number;
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #abort = (): void => this.#controller.abort(this.#outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #late = false;

  constructor(options: CallOptions, usual: ClientOptions) {
    this.timeout = options.timeout ?? usual.timeout ?? 30_000;
    this.#outer = options.signal;
    if (this.#outer?.aborted) this.#abort();
    this.#outer?.addEventListener("abort", this.#abort, { once: true });
    if (this.timeout > 0) {
      this.#timer = setTimeout(() => {
        this.#late = true;
        this.#controller.abort();
      }, this.timeout);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begun(): void {
    clearTimeout(this.#timer);
  }

  done(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
  }

  abandon(): void {
    this.done();
    this.#controller.abort();
  }

  /** What the caller is told: the fault, its own reason to abort, or that the service could not be reached. */
  explained(error: unknown): unknown {
    if (error instanceof Fault) return error;
    if (this.#late) {
      const detail = `no answer within ${this.timeout} ms`;
      return new Fault({ detail, code: "deadline_exceeded", kind: "DEADLINE_EXCEEDED" }, { cause: error });
    }
    if (this.#outer?.aborted) return this.#outer.reason;
    return new Fault(
      { detail: "the service could not be reached", code: "unreachable", kind: "UNAVAILABLE" },
      { cause: error },
    );
  }
}

async function lines(messages: AsyncIterable<unknown> | Iterable<unknown>): Promise<string> {
  const found: string[] = [];
  for await (const each of messages) found.push(`${JSON.stringify({ next: each })}\n`);
  return `${found.join("")}{"end": true}\n`;
}

/** The events of a stream (HTML standard, section 9.2). */
async function* events(response: Response, longest: number): AsyncGenerator<{ name: string; data: string }> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let [rest, name, data] = ["", "", [] as string[]];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const found = rest.split(/\r\n|\n|\r(?!$)/);
      rest = found.pop() ?? "";
      if (rest.length > longest) {
        throw new Fault({ detail: "a message is too long", code: "message_too_large", kind: "RESOURCE_EXHAUSTED" });
      }
      for (const line of found) {
        if (line === "") {
          if (data.length > 0 || name !== "") yield { name: name || "message", data: data.join("\n") };
          [name, data] = ["", []];
        } else if (line.startsWith("event:")) name = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Nothing. */
export class NotThere extends Fault {
  declare readonly details: Promise2;
}

/** Not right. */
export class Wrong extends Fault {}

/** Calls Types. `url` is where the service is, such as `https://api.example.com`. */
export class TypesClient {
  readonly #transport: Transport;

  constructor(url: string, options: ClientOptions = {}) {
    this.#transport = new Transport(url, options);
  }

  /** Give it back. */
  everything(request: Everything, options: CallOptions = {}): Promise<Everything> {
    return this.#transport.unary(
        "/all_types.Types/Everything",
        request,
        { not_there: NotThere, wrong: Wrong },
        options,
    );
  }

  /** Give it back. */
  model(request: Model, options: CallOptions = {}): Promise<Model> {
    return this.#transport.unary("/all_types.Types/Model", request, {}, options);
  }

  /** Take several. */
  manyThings(request: ManyThingsRequest, options: CallOptions = {}): Promise<Record<string, Promise2> | null> {
    return this.#transport.unary("/all_types.Types/ManyThings", request, { not_there: NotThere }, options);
  }
}
