// Calls a shop in every way there is, and prints what came of it.
import { Fault, OutOfStock, ShopClient } from "./shop.ts";

async function caught(work: () => Promise<unknown>): Promise<any> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return undefined;
}

async function all<T>(stream: AsyncIterable<T>, into: T[] = []): Promise<T[]> {
  for await (const each of stream) into.push(each);
  return into;
}

const shop = new ShopClient(process.argv[2] ?? "", { headers: () => ({ "x-token": "abc" }) });
const found: Record<string, unknown> = {};

found.placed = await shop.place({ sku: "tea", quantity: 2 });
found.counted = (await all(shop.count())).map((each) => each.number);

const before: { number: number }[] = [];
const broken = await caught(() => all(shop.count({ upto: 5, stock: 2 }), before));
found.broken = {
  isOutOfStock: broken instanceof OutOfStock,
  left: broken.details.left,
  before: before.map((each) => each.number),
};

const refused = await caught(() => shop.place({ sku: "none" }));
found.refused = {
  isOutOfStock: refused instanceof OutOfStock,
  left: refused.details.left,
  status: refused.status,
  message: refused.message,
};

const wrong = await caught(() => shop.place({ sku: "tea", quantity: 99 }));
found.wrong = { code: wrong.code, status: wrong.status, pointer: wrong.violations[0].pointer };

found.late = (await caught(() => shop.wait({}, { timeout: 100 })) as Fault).kind;

const controller = new AbortController();
const waiting = caught(() => shop.wait({}, { signal: controller.signal }));
controller.abort("enough");
found.aborted = await waiting;

const left: number[] = [];
for await (const each of shop.endless()) {
  left.push(each.number);
  break;
}
found.left = left;

found.summed = await shop.total([1, 2, 3]);
found.echoed = await all(shop.echo(["a", "b"]));
found.nothing = (await shop.nothing()) === undefined;
found.keyed = await shop.keyed({}, { idempotencyKey: "k-1" });
found.unreachable = (await caught(() => new ShopClient("http://127.0.0.1:1").nothing()) as Fault).kind;

console.log(JSON.stringify(found));
