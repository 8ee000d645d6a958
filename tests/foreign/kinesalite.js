// Starts kinesalite on a free port of loopback; its own program binds every interface.
'use strict'

const server = require('kinesalite')({
  createStreamMs: 10,
  deleteStreamMs: 10,
  updateStreamMs: 10,
  shardLimit: 1000,
})

server.listen(0, '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`)
})
