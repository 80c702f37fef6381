import { closeSync, readSync } from 'node:fs'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { endPackets, POLL, poll, receivePacket, sendPacket } from './packet-calls.ts'

/**
 * The thread that waits for packets: Node's own loop cannot wait for such sockets. It reads for a connection only as far
 * as the main thread has asked, so that a slow reader slows the writer down.
 */

/** To the thread. `more`: so many batches are wanted besides those that were. */
export type PacketOrder =
  | { kind: 'open'; fd: number }
  | { kind: 'more'; fd: number; batches: number }
  | { kind: 'send'; fd: number; bytes: Uint8Array }
  | { kind: 'end'; fd: number }
  | { kind: 'close'; fd: number }
  | { kind: 'stop' }
/** From the thread. `sent`: one order to send is done with. */
export type PacketReport =
  | { kind: 'packets'; fd: number; bytes: Uint8Array }
  | { kind: 'ended'; fd: number }
  | { kind: 'sent'; fd: number; isTaken: boolean }
  | { kind: 'closed'; fd: number } // Who hears it closes the descriptor: until then its number is nobody else's.

interface Connection {
  wanted: number
  isOver: boolean
  isRefused: boolean
  outgoing: { bytes: Uint8Array; at: number }[]
  isEnding: boolean
}

/** Monitors of any version take this much at once; a longer packet would be cut. */
const PACKET_BYTES = 8192
/** With its channel it fits into one frame of a stream (`STREAM_FRAME_BYTES`). */
const BATCH_BYTES = 128 * 1024
/** Read from a socket at once: more than any monitor sends. */
const LONGEST_PACKET = 64 * 1024
/** A process that ends does not wait longer for this thread. */
const WAIT_MS = 1000

const bell: number = workerData.bell
const port = parentPort
const connections = new Map<number, Connection>()
const batch = new Uint8Array(BATCH_BYTES)
const packet = new Uint8Array(LONGEST_PACKET)
const drained = Buffer.alloc(8)
let isStopped = false

while (!isStopped) {
  takeOrders()
  const asked = [...connections].map(([fd, connection]) => ({ fd, events: eventsOf(connection), connection }))
  const [rung = 0, ...ready] = poll([{ fd: bell, events: POLL.IN }, ...asked.map(ignoringIdle)], WAIT_MS)
  if (rung !== 0) readSync(bell, drained)
  for (const [at, { fd, connection }] of asked.entries()) {
    const events = ready[at] ?? 0
    if (events & (POLL.OUT | POLL.ERR | POLL.HUP)) sendSome(fd, connection)
    if (events & (POLL.IN | POLL.ERR | POLL.HUP)) readSome(fd, connection)
  }
}
closeSync(bell)

function eventsOf({ wanted, isOver, isRefused, outgoing }: Connection): number {
  return (wanted > 0 && !isOver ? POLL.IN : 0) | (outgoing.length > 0 && !isRefused ? POLL.OUT : 0)
}

/** Of one that is asked for nothing the kernel would tell its end again and again. */
function ignoringIdle({ fd, events }: { fd: number; events: number }) {
  return { fd: events === 0 ? -1 : fd, events }
}

function takeOrders(): void {
  for (let got = port && receiveMessageOnPort(port); got; got = port && receiveMessageOnPort(port)) obey(got.message)
}

function obey(order: PacketOrder): void {
  if (order.kind === 'stop') {
    isStopped = true
    return
  }
  const { fd } = order
  if (order.kind === 'open') {
    connections.set(fd, { wanted: 0, isOver: false, isRefused: false, outgoing: [], isEnding: false })
  }
  const connection = connections.get(fd)
  if (!connection) return
  if (order.kind === 'more') connection.wanted += order.batches
  if (order.kind === 'end') connection.isEnding = true
  if (order.kind === 'send') connection.outgoing.push({ bytes: order.bytes, at: 0 })
  if (order.kind === 'send' || order.kind === 'end') sendSome(fd, connection)
  if (order.kind === 'close') {
    connections.delete(fd)
    report({ kind: 'closed', fd })
  }
}

function sendSome(fd: number, connection: Connection): void {
  const { outgoing } = connection
  for (let next = outgoing[0]; next; next = outgoing[0]) {
    while (next.at < next.bytes.length && !connection.isRefused) {
      const isTaken = sendPacket(fd, next.bytes.subarray(next.at, next.at + PACKET_BYTES))
      if (isTaken === false) return
      if (isTaken === undefined) connection.isRefused = true
      else next.at += PACKET_BYTES
    }
    outgoing.shift()
    report({ kind: 'sent', fd, isTaken: !connection.isRefused })
  }
  if (connection.isEnding) endPackets(fd)
}

/** As many packets with the same first byte as there are, as one batch with that byte once. */
function readSome(fd: number, connection: Connection): void {
  if (connection.isOver || connection.wanted === 0) return
  let mark = -1
  let filled = 1
  const flush = () => {
    if (filled === 1) return
    const bytes = batch.slice(0, filled)
    bytes[0] = mark
    report({ kind: 'packets', fd, bytes }, [bytes.buffer])
    filled = 1
    connection.wanted--
  }
  for (;;) {
    const length = receivePacket(fd, packet)
    if (length === 0) connection.isOver = true
    if (length === undefined || length === 0) break
    const [first = 0] = packet
    if (first !== mark || filled + length > BATCH_BYTES) flush()
    mark = first
    batch.set(packet.subarray(1, length), filled)
    filled += length - 1
    // The last packet read may be another's batch: it is delivered, one more than asked for.
    if (connection.wanted <= 0 || filled > BATCH_BYTES - LONGEST_PACKET) break
  }
  flush()
  if (connection.isOver) report({ kind: 'ended', fd })
}

function report(message: PacketReport, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer)
}
