import { closeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { connectPackets, openBell, ring } from './packet-calls.ts'
import type { PacketOrder, PacketReport } from './packet-thread.ts'

export interface PacketSocket {
  /**
   * Packets with the same first byte, joined and with that byte once; they are the reader's own. Until the other side closes or the signal says so. What nobody takes stays with the other side, which waits. One
   * reader at a time.
   */
  read(signal: AbortSignal): AsyncGenerator<Uint8Array, void>
  /** Done when the kernel has taken all of it; false: the other side will take nothing any more. */
  write(bytes: Uint8Array): Promise<boolean>
  /** The other side reads an end after what was written. */
  end(): void
  close(): void
  readonly isEnded: boolean
  readonly fd: number
}

export interface PacketSockets {
  /** One that is connected already; it is closed with what this returns. */
  adopt(fd: number): PacketSocket
  /** Connects to the socket `name` in a folder. Errors: `host.kernel-refused` with `facts.errno`. */
  connect(folder: string, name: string): PacketSocket
}

/** Asked for ahead of the reader. */
const BATCHES_AHEAD = 4

interface Open {
  batches: Uint8Array[]
  asked: number
  isEnded: boolean
  /** Wakes who reads. */
  wake(): void
  sending: ((isTaken: boolean) => void)[]
}

/** Sockets with packets, all on one thread, which is there while one of them is open. */
export function packetSockets(): PacketSockets {
  const open = new Map<number, Open>()
  let thread: { worker: Worker; bell: number } | undefined

  const order = (what: PacketOrder, transfer: ArrayBuffer[] = []) => {
    if (!thread) return
    thread.worker.postMessage(what, transfer)
    ring(thread.bell)
  }
  const begin = () => {
    const bell = openBell()
    const worker = new Worker(new URL('./packet-thread.ts', import.meta.url), {
      workerData: { bell },
      trackUnmanagedFds: false,
    })
    worker.unref()
    worker.on('message', hear)
    // Who holds a connection reads its end, whatever the thread died of.
    worker.on('error', () => {
      thread = undefined
      closeSync(bell)
      for (const fd of [...open.keys()]) forget(fd)
    })
    return { worker, bell }
  }
  const hear = (report: PacketReport) => {
    if (report.kind === 'closed') return forget(report.fd)
    const connection = open.get(report.fd)
    if (!connection) return
    if (report.kind === 'packets') {
      connection.asked--
      connection.batches.push(report.bytes)
    }
    if (report.kind === 'ended') connection.isEnded = true
    if (report.kind === 'sent') connection.sending.shift()?.(report.isTaken)
    else connection.wake()
  }
  const forget = (fd: number) => {
    const connection = open.get(fd)
    open.delete(fd)
    if (connection) {
      closeSync(fd)
      connection.isEnded = true
      for (const tell of connection.sending.splice(0)) tell(false)
      connection.wake()
    }
    if (open.size > 0 || !thread) return
    order({ kind: 'stop' })
    thread = undefined
  }

  const adopt = (fd: number): PacketSocket => {
    thread ??= begin()
    const connection: Open = { batches: [], asked: 0, isEnded: false, wake: () => {}, sending: [] }
    open.set(fd, connection)
    order({ kind: 'open', fd })
    let isClosed = false
    return {
      fd,
      read: signal => read(connection, batches => order({ kind: 'more', fd, batches }), signal),
      write: bytes => {
        if (isClosed || bytes.length === 0) return Promise.resolve(!isClosed)
        const { promise, resolve } = Promise.withResolvers<boolean>()
        connection.sending.push(resolve)
        const own = new Uint8Array(bytes) // What it is a part of may be another's.
        order({ kind: 'send', fd, bytes: own }, [own.buffer])
        return promise
      },
      end: () => order({ kind: 'end', fd }),
      close: () => {
        if (isClosed) return
        isClosed = true
        order({ kind: 'close', fd })
      },
      get isEnded() {
        return connection.isEnded && connection.batches.length === 0
      },
    }
  }
  return { adopt, connect: (folder, name) => adopt(connectPackets(folder, name)) }
}

async function* read(
  connection: Open,
  more: (batches: number) => void,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const onAbort = () => connection.wake()
  signal.addEventListener('abort', onAbort)
  try {
    while (!signal.aborted) {
      const lacking = BATCHES_AHEAD - connection.asked - connection.batches.length
      if (lacking > 0 && !connection.isEnded) {
        connection.asked += lacking
        more(lacking)
      }
      const next = connection.batches.shift()
      if (next) yield next
      else if (connection.isEnded) return
      else await new Promise<void>(resolve => (connection.wake = resolve))
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
