/**
 * Orders 1.2.0: Orders of a shop.
 *
 * Generated from the contract of the service: change that, and generate it again.
 */

export interface CancelRequest {
  number: string;
  /** Default: "". */
  reason?: string;
}

/** Paid by card. */
export interface Card {
  type: "card";
  /** pattern: "^[0-9]{4}$". */
  last_digits: string;
}

export interface ChangeRequest {
  number: string;
  order: NewOrder;
}

/** How much there is. */
export interface Details {
  sku: string;
  left: number;
}

export interface FindRequest {
  /** Default: "". */
  text?: string;
  /** Default: []. */
  states?: Array<State>;
  /** minimum: 1. maximum: 1000. Default: 100. */
  limit?: number;
  /** Default: null. */
  shape?: Line | null;
}

export interface GetRequest {
  number: string;
  /** Default: false. */
  verbose?: boolean;
}

/** Paid later. */
export interface Invoice {
  type: "invoice";
  /** minimum: 1. maximum: 90. Default: 30. */
  days?: number;
}

/** So many of one thing. */
export interface Line {
  /** What the shop calls it. minLength: 1. maxLength: 40. pattern: "^[a-z0-9-]+$". */
  sku: string;
  /** minimum: 1. maximum: 100. Default: 1. */
  howMany?: number;
  /** Default: []. */
  notes?: Array<string>;
}

/** What is wanted. */
export interface NewOrder {
  lines: Array<Line>;
  /** Default: null. */
  payment?: Card | Invoice | null;
  /** Default: {}. */
  labels?: Record<string, string>;
}

/** What was ordered. */
export interface Order {
  id: string;
  lines: Array<Line>;
  /** Default: "open". */
  state?: State;
  /** Default: null. */
  due?: string | null;
}

/** What became of an order. */
export interface OrderEvent {
  order: string;
  state: State;
}

export interface PingRequest {
  /** Default: "". */
  rest?: string;
}

/** How many came. */
export interface Receipt {
  count: number;
}

/** How far an order is. */
export type State = "open" | "paid";

export interface TrackRequest {
  number: string;
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

/** There is no such order. */
export class OrderNotFound extends Fault {}

/** There is less than was asked for. */
export class OutOfStock extends Fault {
  declare readonly details: Details;
}

/** Calls Orders. `url` is where the service is, such as `https://api.example.com`. */
export class OrdersClient {
  readonly #transport: Transport;

  constructor(url: string, options: ClientOptions = {}) {
    this.#transport = new Transport(url, options);
  }

  /**
   * One order.
   *
   * With `verbose`, all there is to know.
   */
  get(request: GetRequest, options: CallOptions = {}): Promise<Order> {
    return this.#transport.unary("/orders.Orders/Get", request, { order_not_found: OrderNotFound }, options);
  }

  /** Orders that contain a text. */
  find(request: FindRequest = {}, options: CallOptions = {}): Promise<Array<Order>> {
    return this.#transport.unary("/orders.Orders/Find", request, {}, options);
  }

  /** Order something. */
  place(request: NewOrder, options: CallOptions = {}): Promise<Order> {
    return this.#transport.unary("/orders.Orders/Place", request, { out_of_stock: OutOfStock }, options);
  }

  /** Replace an order. */
  change(request: ChangeRequest, options: CallOptions = {}): Promise<Order> {
    return this.#transport.unary(
        "/orders.Orders/Change",
        request,
        { order_not_found: OrderNotFound, out_of_stock: OutOfStock },
        options,
    );
  }

  /**
   * Forget an order.
   *
   * @deprecated
   */
  cancel(request: CancelRequest, options: CallOptions = {}): Promise<void> {
    return this.#transport.unary("/orders.Orders/Cancel", request, { order_not_found: OrderNotFound }, options);
  }

  /** What becomes of an order, as it happens. */
  track(request: TrackRequest, options: CallOptions = {}): AsyncGenerator<OrderEvent> {
    return this.#transport.stream("/orders.Orders/Track", request, {}, options);
  }

  /** Many lines at once. */
  upload(messages: AsyncIterable<Line> | Iterable<Line>, options: CallOptions = {}): Promise<Receipt> {
    return this.#transport.gathered("/orders.Orders/Upload", messages, {}, options);
  }

  /** Say something, hear something. */
  talk(messages: AsyncIterable<string> | Iterable<string>, options: CallOptions = {}): AsyncGenerator<string> {
    return this.#transport.both("/orders.Orders/Talk", messages, {}, options);
  }

  /** Answer, when all is well. */
  ping(request: PingRequest = {}, options: CallOptions = {}): Promise<string> {
    return this.#transport.unary("/orders.Orders/Ping", request, {}, options);
  }
}
