import { SlipwayError } from '#shared/errors.ts'
import {
  attribute,
  decodeAttributes,
  NETLINK,
  type NetlinkMessage,
  type NetlinkReply,
  NetlinkSocket,
  NLM_F,
  nested,
  uint32Attribute,
} from '#worker/host/netlink.ts'
import { ipv4 } from './rtnetlink.ts'

/**
 * The kernel translates a connection as its first packet was, for as long as packets come. A client that sends on
 * (syslog, DNS, a game) would go on to an address that nobody has any more, or that another container has now: so these
 * entries go with the container, and entries of a UDP port when it is published.
 */

/** linux/netfilter/nfnetlink_conntrack.h */
const TYPE = { GET: (1 << 8) | 1, DELETE: (1 << 8) | 2 } as const
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, ID: 12, FILTER: 25 } as const
const TUPLE = { IP: 1, PROTO: 2 } as const
const IP = { SOURCE: 1, DESTINATION: 2 } as const
const PROTO = { NUMBER: 1, SOURCE_PORT: 2, DESTINATION_PORT: 3 } as const
const FILTER_FLAGS = { [CTA.TUPLE_ORIG]: 1, [CTA.TUPLE_REPLY]: 2 } as const
/** Which parts of a tuple the kernel compares. */
const COMPARE = { SOURCE: 1, NUMBER: 8, DESTINATION_PORT: 32 } as const
const UDP = 17
const BATCH = 100
/** struct nfgenmsg of IPv4. */
const HEADER = Buffer.from([2, 0, 0, 0])

/** Connections that the container began. Each of these looks costs the kernel about 10 ms, whatever it finds. */
export function forgetFrom(address: string): Promise<void> {
  return forget(filter(CTA.TUPLE_ORIG, COMPARE.SOURCE, addressPart(address)))
}

/** Connections whose packets were sent to it, by its address or a published port: its answers come from there. */
export function forgetTo(address: string): Promise<void> {
  return forget(filter(CTA.TUPLE_REPLY, COMPARE.SOURCE, addressPart(address)))
}

const addressPart = (address: string) => nested(TUPLE.IP, attribute(IP.SOURCE, ipv4(address)))

/** Of any number of ports in one look. */
export async function forgetUdpPorts(ports: readonly number[]): Promise<void> {
  const [first, ...more] = ports.map(portPart)
  if (!first) return
  // The kernel compares one port; for several it answers with all of UDP, and the rest is done here.
  const compared = more.length === 0 ? COMPARE.NUMBER | COMPARE.DESTINATION_PORT : COMPARE.NUMBER
  const { attributes } = filter(CTA.TUPLE_ORIG, compared, first)
  const tupleOf = (entry: Buffer) => entryAttributes(entry).get(CTA.TUPLE_ORIG)
  await forget({ attributes, matches: entry => [first, ...more].some(part => includesPart(tupleOf(entry), part)) })
}

function portPart(port: number): Buffer {
  const number = Buffer.alloc(2)
  number.writeUInt16BE(port)
  const protocol = attribute(PROTO.NUMBER, Buffer.from([UDP]))
  return nested(TUPLE.PROTO, protocol, attribute(PROTO.DESTINATION_PORT, number))
}

/** Attributes of a question that is answered with the entries whose tuple has these parts. */
interface Filter {
  attributes: Buffer
  matches(entry: Buffer): boolean
}

function filter(side: 1 | 2, compared: number, part: Buffer): Filter {
  const attributes = Buffer.concat([
    nested(side, part),
    nested(CTA.FILTER, uint32Attribute(FILTER_FLAGS[side], compared)),
  ])
  return {
    attributes,
    // Kernels before 5.8 know no filter and answer with every entry.
    matches: entry => includesPart(entryAttributes(entry).get(side), part),
  }
}

/** Whether a tuple has every value of a part: of addresses or of ports. */
function includesPart(tuple: Buffer | undefined, part: Buffer): boolean {
  const present = attributesIn(tuple)
  return [...attributesIn(part)].every(([type, wanted]) => {
    const values = attributesIn(present.get(type))
    return [...attributesIn(wanted)].every(([key, value]) => values.get(key)?.equals(value))
  })
}

const attributesIn = (bytes: Buffer = Buffer.alloc(0)) => new Map(decodeAttributes(bytes))

const entryAttributes = (entry: Buffer) => attributesIn(entry.subarray(HEADER.length))

/** A kernel without this interface keeps what it has: nothing worth failing a container for. */
async function forget(wanted: Filter): Promise<void> {
  try {
    await forgetMatching(wanted)
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== 'host.kernel-refused') throw error
  }
}

async function forgetMatching({ attributes, matches }: Filter): Promise<void> {
  using socket = new NetlinkSocket(NETLINK.NETFILTER)
  const body = Buffer.concat([HEADER, attributes])
  const entries = await socket.dump({ type: TYPE.GET, flags: NLM_F.DUMP, body, doing: 'list connections' })
  const doomed = entries.filter(entry => matches(entry.body)).map(deletion)
  // In parts, since a socket's answers have to fit its buffer. One that has ended meanwhile is refused, and as good.
  for (let at = 0; at < doomed.length; at += BATCH) await socket.sendAll(doomed.slice(at, at + BATCH))
}

/** Named by tuple and id: a new entry of the same tuple is another. */
function deletion({ body }: NetlinkReply): NetlinkMessage {
  const attributes = entryAttributes(body)
  const value = (type: number) => attributes.get(type) ?? Buffer.alloc(0)
  const named = [HEADER, nested(CTA.TUPLE_ORIG, value(CTA.TUPLE_ORIG)), attribute(CTA.ID, value(CTA.ID))]
  return { type: TYPE.DELETE, flags: NLM_F.ACK, body: Buffer.concat(named), doing: 'forget a connection' }
}
