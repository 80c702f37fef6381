import { expect, test } from 'vitest'
import { elementStatements, listedElements, portElement, withoutElements } from './ruleset.ts'

const LISTED = `table inet slipway_x {
	map published_any {
		type inet_proto . inet_service : ipv4_addr . inet_service
		elements = { tcp . 8080 : 10.0.0.2 . 80,
			     udp . 53 : 10.0.0.3 . 53 }
	}

	map published_one {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = { 127.0.0.1 . tcp . 81 : 10.0.0.2 . 81 }
	}

	chain guard {
		type filter hook prerouting priority raw; policy accept;
	}
}
`

test('ports are read back as they were written', () => {
  const ports = [
    { hostAddress: '0.0.0.0', hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostAddress: '127.0.0.1', hostPort: 81, containerPort: 81, protocol: 'tcp' },
  ] as const
  const [any, one] = ports.map(port => portElement('10.0.0.2', port))
  const other = { map: 'published_any', key: 'udp . 53', target: '10.0.0.3 . 53' }
  expect(listedElements(LISTED)).toEqual([any, other, one])
  expect(elementStatements('add', 'slipway_x', any ? [any] : [])).toBe(
    'add element inet slipway_x published_any { tcp . 8080 : 10.0.0.2 . 80 }\n',
  )
})

test('the shape of a table is the same whatever ports there are', () => {
  const bare = LISTED.replace(/\t\telements = \{[^}]*\}\n/g, '')
  expect(withoutElements(LISTED)).toBe(withoutElements(bare))
  expect(withoutElements(LISTED.replace('priority raw', 'priority 0'))).not.toBe(withoutElements(bare))
})
