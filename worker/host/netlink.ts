import { closeSync, readSync, write } from 'node:fs'
import { promisify } from 'node:util'
import { errnoName, errnoOf, kernelError } from './kernel-error.ts'
import { socket } from './syscalls.ts'

/**
 * Netlink (RFC 3549; linux/netlink.h), the kernel's own way to be asked about links, addresses, routes and nftables.
 * A socket belongs to the network namespace it was opened in. The kernel answers before `write` returns, so reading
 * never waits; writing may (for the kernel's lock on networks), so it runs beside the event loop.
 */
export const NETLINK = { ROUTE: 0, NETFILTER: 12 } as const
export const NLM_F = { REQUEST: 1, ACK: 4, REPLACE: 0x100, EXCL: 0x200, DUMP: 0x300, CREATE: 0x400 } as const

export interface NetlinkMessage {
  type: number
  flags: number
  body: Buffer
  /** For the sentence of a refusal: "make the bridge slw-main". */
  doing: string
}

export interface NetlinkReply {
  type: number
  body: Buffer
}

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_NONBLOCK = 0x800
const HEADER = 16
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLM_F_DUMP_INTR = 0x10
/** The kernel fills at most 32 KiB a read. */
const READ_SIZE = 64 * 1024
const DUMP_TRIES = 20

const writeBeside = promisify(write)

/** Use one for one task at a time: answers are matched by order within it. */
export class NetlinkSocket implements Disposable {
  readonly #fd: number
  #sequence = 0

  constructor(protocol: number) {
    this.#fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, protocol)
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }

  /**
   * Sends all messages in one write and returns each one's errno name, or undefined where it was done. rtnetlink does
   * them one by one; an nftables batch is done whole or not at all. Messages without ACK count as done.
   */
  async sendAll(messages: readonly NetlinkMessage[]): Promise<(string | undefined)[]> {
    const first = this.#sequence
    await this.#write(messages)
    const results = new Map<number, number>()
    for (const part of this.#readAvailable())
      if (part.type === NLMSG_ERROR) results.set(part.sequence - first, -part.body.readInt32LE(0))
    return messages.map(({ flags }, index) => {
      const errno = results.get(index) ?? (flags & NLM_F.ACK ? undefined : 0)
      if (errno === undefined) return 'ENOMSG'
      return errno === 0 ? undefined : errnoName(errno)
    })
  }

  /** Sends messages that must all be done; throws `host.kernel-refused` for the first that was not. */
  async send(...messages: NetlinkMessage[]): Promise<void> {
    const results = await this.sendAll(messages)
    for (const [index, errno] of results.entries())
      if (errno !== undefined) throw kernelError(errno, messages[index]?.doing ?? 'answer')
  }

  /** The one answer to a question about one thing. */
  async ask(message: NetlinkMessage): Promise<Buffer> {
    await this.#write([message])
    for (const part of this.#readAvailable()) {
      if (part.type === NLMSG_ERROR) throw kernelError(errnoName(-part.body.readInt32LE(0)), message.doing)
      return part.body
    }
    throw kernelError('ENOMSG', message.doing)
  }

  /** Everything that a question with the DUMP flag is answered with, of one moment. */
  async dump(message: NetlinkMessage): Promise<NetlinkReply[]> {
    for (let tries = 0; tries < DUMP_TRIES; tries++) {
      const replies = await this.#dumpOnce(message)
      if (replies !== undefined) return replies
    }
    throw kernelError('EINTR', message.doing)
  }

  /** Undefined when something changed meanwhile, so that the answer mixes two moments. */
  async #dumpOnce(message: NetlinkMessage): Promise<NetlinkReply[] | undefined> {
    await this.#write([message])
    const replies: NetlinkReply[] = []
    let isTorn = false
    for (const part of this.#readAvailable()) {
      if (part.flags & NLM_F_DUMP_INTR) isTorn = true
      if (part.type === NLMSG_ERROR) throw kernelError(errnoName(-part.body.readInt32LE(0)), message.doing)
      if (part.type === NLMSG_DONE) return isTorn ? undefined : replies
      replies.push({ type: part.type, body: part.body })
    }
    throw kernelError('ENOMSG', message.doing)
  }

  async #write(messages: readonly NetlinkMessage[]): Promise<void> {
    const bytes = Buffer.concat(messages.map(message => encodeMessage(message, this.#sequence++)))
    try {
      await writeBeside(this.#fd, bytes)
    } catch (error) {
      throw kernelError(errnoOf(error) ?? 'EIO', messages[0]?.doing ?? 'read a message', error)
    }
  }

  *#readAvailable() {
    const buffer = Buffer.allocUnsafe(READ_SIZE)
    for (;;) {
      const length = readOrNothing(this.#fd, buffer)
      if (length === 0) return
      // A copy: the caller keeps parts while the buffer is filled again.
      yield* decodeMessages(Buffer.from(buffer.subarray(0, length)))
    }
  }
}

function readOrNothing(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer)
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return 0
    throw kernelError(errnoOf(error) ?? 'EIO', 'answer a netlink message', error)
  }
}

const aligned = (length: number) => (length + 3) & ~3

function encodeMessage({ type, flags, body }: NetlinkMessage, sequence: number): Buffer {
  const message = Buffer.alloc(aligned(HEADER + body.length))
  message.writeUInt32LE(HEADER + body.length, 0)
  message.writeUInt16LE(type, 4)
  message.writeUInt16LE(flags | NLM_F.REQUEST, 6)
  message.writeUInt32LE(sequence, 8)
  body.copy(message, HEADER)
  return message
}

function* decodeMessages(bytes: Buffer) {
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = bytes.readUInt32LE(at)
    if (length < HEADER || at + length > bytes.length) throw kernelError('EBADMSG', 'answer whole netlink messages')
    yield {
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      sequence: bytes.readUInt32LE(at + 8),
      body: bytes.subarray(at + HEADER, at + length),
    }
    at += aligned(length)
  }
}

const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff

export function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(aligned(4 + value.length))
  bytes.writeUInt16LE(4 + value.length, 0)
  bytes.writeUInt16LE(type, 2)
  value.copy(bytes, 4)
  return bytes
}

export const nested = (type: number, ...attributes: Buffer[]) =>
  attribute(type | NLA_F_NESTED, Buffer.concat(attributes))

export const textAttribute = (type: number, text: string) => attribute(type, Buffer.from(`${text}\0`))

export function uint32Attribute(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return attribute(type, bytes)
}

/** Attributes in their order, flags taken off their types. */
export function* decodeAttributes(bytes: Buffer): Generator<[type: number, value: Buffer]> {
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at)
    if (length < 4 || at + length > bytes.length) throw kernelError('EBADMSG', 'answer whole netlink attributes')
    yield [bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length)]
    at += aligned(length)
  }
}

/** The text of an attribute, without the zero byte at its end. */
export function attributeText(value: Buffer | undefined): string {
  const end = value?.indexOf(0) ?? -1
  return value?.toString('utf8', 0, end < 0 ? value.length : end) ?? ''
}
