import { expect, test } from 'vitest'
import { listenersIn } from './host-ports.ts'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue'
const table = (...lines: string[]) => [HEAD, ...lines, ''].join('\n')

test('TCP: sockets that listen, with their addresses', () => {
  const text = table(
    '   0: 3500007F:0035 00000000:0000 0A 00000000:00000000',
    '   1: 00000000:1F90 00000000:0000 0A 00000000:00000000',
    '   2: 0100007F:9C40 0100007F:1F90 01 00000000:00000000',
  )
  expect(listenersIn(text, 'tcp')).toEqual([
    { address: '127.0.0.53', port: 53 },
    { address: '0.0.0.0', port: 8080 },
  ])
})

test('UDP: a client that is connected holds no port for others', () => {
  const text = table(
    ' 42: 0100007F:0202 00000000:0000 07 00000000:00000000',
    ' 43: 0200000A:C350 08080808:0035 01 00000000:00000000',
  )
  expect(listenersIn(text, 'udp')).toEqual([{ address: '127.0.0.1', port: 514 }])
})

test('IPv6: [::] takes IPv4 too, a mapped address is an IPv4 one, [::1] is nobody to us', () => {
  const text = table(
    '   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0',
    '   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0:0',
    '   2: 00000000000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 0:0',
  )
  expect(listenersIn(text, 'tcp')).toEqual([
    { address: '0.0.0.0', port: 80 },
    { address: '127.0.0.1', port: 81 },
  ])
})
